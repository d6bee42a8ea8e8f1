"""Tensors and what a file says of them: our safetensors, read and written, and released files, read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from agg_pipeline.models.adapter import Shape
from agg_pipeline.models.file_metadata import FORMAT, Metadata, read_metadata
from agg_pipeline.models.released_files import open_released
from agg_pipeline.models.stored_tensors import LEGACY, ZIP
from agg_pipeline.storage.local_file import open_file, replace_file
from schemas.errors import UserError
from schemas.limits import MODEL_BYTES, SAFETENSORS_HEADER_BYTES, TENSOR_DIMENSIONS, TENSOR_SIDE
from schemas.words import excerpt

METADATA = "agg"
"""The one entry of a safetensors header's metadata: JSON with the format, what the file holds, and its origin."""
WRAPPERS = ("module.", "_orig_mod.")
"""What torch puts before all names of a model that it runs on several devices or compiles."""

Read = Callable[[Iterable[str]], dict[str, Tensor]]


@dataclass(frozen=True)
class TensorFile:
    """An open file, whose tensors are still in it.

    Attributes:
        shapes: of the tensors, by key name.
        metadata: what one of our files says of itself; None for others.
        settings: what a released file says of its model; empty for others.
    """

    shapes: Mapping[str, Shape]
    _prefix: str
    _read: Read
    _stream: BufferedReader
    metadata: Metadata | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read tensors, once their shapes are known to be those of a model.

        Args:
            names: some keys of ``shapes``.

        Returns:
            The tensors by key name, on the CPU, of any dtype.

        Raises:
            UserError: the file is damaged.
            StorageError: it cannot be read now.
        """
        tensors = self._read([self._prefix + name for name in names])
        return {name.removeprefix(self._prefix): value for name, value in tensors.items()}

    def sha256(self) -> str:
        """Hash of the file, hex."""
        self._stream.seek(0)
        return hashlib.file_digest(self._stream, "sha256").hexdigest()


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a released ``.pth`` or safetensors; the content decides which it is, not the name.

    Only what the file says of its tensors is read: whoever opens it checks the shapes before the numbers.

    Yields:
        The file.

    Raises:
        UserError: the file is missing, damaged, or of another format.
        UnusableFileError: it is no regular file, or too large.
        StorageError: it cannot be read now.
    """
    try:
        with open_file(path, MODEL_BYTES) as (stream, size):
            yield _opened(stream, size, path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None


def _opened(stream: BufferedReader, size: int, path: Path) -> TensorFile:
    magic = stream.read(len(LEGACY))
    stream.seek(0)
    metadata: Metadata | None = None
    settings: Mapping[str, Any] = {}
    read: Read
    if magic.startswith(ZIP) or magic == LEGACY:
        released = open_released(stream, size, str(path))
        shapes, settings, read = released.shapes, released.settings, released.read
    else:
        shapes, metadata = _describe_safetensors(stream, path)

        def read(names: Iterable[str]) -> dict[str, Tensor]:
            return _read_safetensors(path, names)

    for name, shape in shapes.items():
        if len(shape) > TENSOR_DIMENSIONS or not all(1 <= side <= TENSOR_SIDE for side in shape):
            raise UserError(
                f"{path}: {excerpt(name)} has the shape {excerpt(str(shape))}; a tensor has at most "
                f"{TENSOR_DIMENSIONS} dimensions, each between 1 and {TENSOR_SIDE}"
            )
    prefix = _common_prefix(shapes)
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    return TensorFile(own, prefix, read, stream, metadata, settings)


def _describe_safetensors(stream: BufferedReader, path: Path) -> tuple[dict[str, Shape], Metadata | None]:
    if int.from_bytes(stream.read(8), "little") > SAFETENSORS_HEADER_BYTES:
        raise _unknown(path)
    try:
        with safe_open(path, "pt") as reader:
            text = (reader.metadata() or {}).get(METADATA)
            shapes = {name: tuple(reader.get_slice(name).get_shape()) for name in reader.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError, AttributeError):
        raise _unknown(path) from None
    return shapes, None if text is None else read_metadata(text, str(path))


def _read_safetensors(path: Path, names: Iterable[str]) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as reader:
            return {name: reader.get_tensor(name) for name in names}
    except (SafetensorError, ValueError, RuntimeError, AttributeError):
        raise _unknown(path) from None


def _unknown(path: Path) -> UserError:
    return UserError(f"{path} is neither a .pth checkpoint nor safetensors, or it is truncated")


def _common_prefix(names: Iterable[str]) -> str:
    """What torch has put before all of the names."""
    prefix, names = "", list(names)
    while names and (
        found := next((each for each in WRAPPERS if all(name.startswith(prefix + each) for name in names)), "")
    ):
        prefix += found
    return prefix


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Write safetensors, as a whole or not at all; the same content gives the same bytes.

    Args:
        path: of the file, which is replaced if it exists.
        tensors: by key name.
        metadata: what the file says of itself, as JSON.
        dtype: that all tensors are converted to.

    Raises:
        StorageError: the file cannot be written.
    """
    converted = {key: value.detach().to("cpu", dtype).contiguous() for key, value in tensors.items()}
    # One entry only: safetensors writes several in an order that changes from run to run.
    text = json.dumps({"format": FORMAT, **metadata}, sort_keys=True)
    replace_file(path, safetensors.torch.save(converted, {METADATA: text}))
