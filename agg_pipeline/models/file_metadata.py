"""What our files of models and adapters say of themselves: JSON beside their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from schemas.checked_json import WITHOUT_CONTROL, decode
from schemas.errors import UserError
from schemas.training import LARGEST_SIZE, SMALLEST_SIZE

FORMAT = "agg-model-1"
Hash = Annotated[str, msgspec.Meta(max_length=64, pattern=WITHOUT_CONTROL)]
"""Hex sha256, or "" where it is unknown."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What an adapter was trained on; empty where nothing is known, as of released files.

    Args:
        base_sha256: of the base checkpoint's file, hex.
        proposals: hashes of the proposal databases (configuration and shards).
        config: configuration of the training.
    """

    base_sha256: Hash = ""
    proposals: tuple[Hash, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says of itself.

    Args:
        projections: those that LoRA updates; None where the file does not name them.
        origin: what an adapter was trained on.
    """

    projections: Any
    origin: Origin


@dataclass(frozen=True)
class _Head:
    format: Any = FORMAT
    projections: Any = None


@dataclass(frozen=True)
class _WithOrigin:
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True)
class _Augment:
    size: Annotated[int, msgspec.Meta(ge=SMALLEST_SIZE, le=LARGEST_SIZE)] | None = None


@dataclass(frozen=True)
class _Config:
    augment: _Augment = field(default_factory=_Augment)


@dataclass(frozen=True)
class _OriginThatIsUsed:
    config: _Config = field(default_factory=_Config)


@dataclass(frozen=True)
class _Used:
    """What is used of the configuration of a training."""

    origin: _OriginThatIsUsed = field(default_factory=_OriginThatIsUsed)


def read_metadata(text: str, path: str) -> Metadata:
    """Decode what a file says of itself.

    Args:
        text: JSON.
        path: of the file, for the message.

    Raises:
        UserError: the text is damaged, or the file is of another format.
    """
    head = decode(text, _Head, f"{path}: its metadata")
    if head.format != FORMAT:
        raise UserError(f"{path} is not of the format {FORMAT}, which this program reads")
    damaged = f"{path}: its origin is damaged"
    decode(text, _Used, damaged)
    return Metadata(head.projections, decode(text, _WithOrigin, damaged).origin)
