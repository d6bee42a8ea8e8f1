"""Tensors and what a file says of them: our safetensors, read and written, and released files, read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from agg_pipeline.models.released_files import read_released
from schemas.errors import StorageError, UserError

FORMAT = "agg-model-1"
METADATA = "agg"
"""The one entry of a safetensors header's metadata: JSON with the format, what the file holds, and its origin."""


@dataclass(frozen=True, slots=True)
class TensorFile:
    """Content of a file.

    Args:
        tensors: by key name, on the CPU, of any dtype.
        metadata: what one of our files says of itself; empty for others.
        settings: what a released file says of its model; empty for others.
        sha256: of the file, hex.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    settings: dict[str, Any]
    sha256: str


def read_tensors(path: Path) -> TensorFile:
    """Read a released ``.pth`` or safetensors; the content decides which it is, not the name.

    Raises:
        UserError: the file is missing, damaged, or of another format.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
            stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if magic == b"PK\x03\x04":
        tensors, settings = read_released(path)
        return TensorFile(tensors, {}, settings, sha256)
    try:
        with safe_open(path, "pt") as reader:
            names = reader.keys()
            tensors = {name: reader.get_tensor(name) for name in names}
            metadata = json.loads((reader.metadata() or {}).get(METADATA, "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError):
        raise UserError(f"{path} is neither a .pth checkpoint nor safetensors, or it is truncated") from None
    if not isinstance(metadata, dict) or metadata.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} is not of the format {FORMAT}, which this program reads")
    return TensorFile(tensors, metadata, {}, sha256)


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
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(safetensors.torch.save(converted, {METADATA: text}))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
