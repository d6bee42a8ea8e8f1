"""Tensors and what a file says of them: our safetensors, read and written, and released files, read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from agg_pipeline.models.file_metadata import FORMAT, Metadata, read_metadata
from agg_pipeline.models.released_files import read_released
from agg_pipeline.models.stored_tensors import LEGACY, ZIP
from agg_pipeline.storage.local_file import open_file, replace_file
from schemas.errors import UserError
from schemas.limits import CHECKPOINT_BYTES, SAFETENSORS_HEADER_BYTES

METADATA = "agg"
"""The one entry of a safetensors header's metadata: JSON with the format, what the file holds, and its origin."""
WRAPPERS = ("module.", "_orig_mod.")
"""What torch puts before all names of a model that it runs on several devices or compiles."""


@dataclass(frozen=True, slots=True)
class TensorFile:
    """Content of a file.

    Args:
        tensors: by key name, on the CPU, of any dtype.
        sha256: of the file, hex.
        metadata: what one of our files says of itself; None for others.
        settings: what a released file says of its model; empty for others.
    """

    tensors: dict[str, Tensor]
    sha256: str
    metadata: Metadata | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def read_tensors(path: Path) -> TensorFile:
    """Read a released ``.pth`` or safetensors; the content decides which it is, not the name.

    Raises:
        UserError: the file is missing, damaged, or of another format.
        UnusableFileError: it is no regular file, or too large.
        StorageError: it cannot be read now.
    """
    try:
        with open_file(path, CHECKPOINT_BYTES) as (stream, size):
            return _read(stream, size, path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None


def _read(stream: BufferedReader, size: int, path: Path) -> TensorFile:
    magic = stream.read(len(LEGACY))
    stream.seek(0)
    metadata: Metadata | None = None
    settings: dict[str, Any] = {}
    if magic.startswith(ZIP) or magic == LEGACY:
        tensors, settings = read_released(stream, size, str(path))
    else:
        tensors, metadata = _read_safetensors(stream, path)
    stream.seek(0)
    return TensorFile(_unwrapped(tensors), hashlib.file_digest(stream, "sha256").hexdigest(), metadata, settings)


def _read_safetensors(stream: BufferedReader, path: Path) -> tuple[dict[str, Tensor], Metadata | None]:
    unknown = UserError(f"{path} is neither a .pth checkpoint nor safetensors, or it is truncated")
    if int.from_bytes(stream.read(8), "little") > SAFETENSORS_HEADER_BYTES:
        raise unknown
    try:
        with safe_open(path, "pt") as reader:
            text = (reader.metadata() or {}).get(METADATA)
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError, AttributeError):
        raise unknown from None
    return tensors, None if text is None else read_metadata(text, str(path))


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that all their names share."""
    while tensors and (
        prefix := next((each for each in WRAPPERS if all(name.startswith(each) for name in tensors)), "")
    ):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


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
