"""The pickle of the authors' generator, read without running anything: plain numeric arrays, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.models.inert_pickle import DamagedPickleError, Named, read_pickle
from agg_pipeline.storage.local_file import open_file
from agg_pipeline.storage.rle import encode
from schemas import limits
from schemas.crop import crop_mask
from schemas.errors import UserError
from schemas.words import excerpt, printable

MODULES = ("numpy.core", "numpy._core")
"""NumPy's module of arrays, by its old and new name."""
MADE = tuple(f"{module}.multiarray._reconstruct" for module in MODULES)
BUFFERED = tuple(f"{module}.numeric._frombuffer" for module in MODULES)
ALLOWED = {*MADE, *BUFFERED, "numpy.ndarray", "numpy.dtype", "_codecs.encode"}
"""What rebuilding plain numeric arrays names."""
TYPES = ("b1", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
"""Types of arrays that are read."""


@dataclass(eq=False)
class Array:
    """An array of a pickle: made first, filled later.

    Attributes:
        values: its numbers; None until it is filled, and for masks.
        masks: compressed COCO counts of each mask; None for an array that holds none.
        size: height and width of the masks.
    """

    values: NDArray[Any] | None = None
    masks: tuple[bytes, ...] | None = None
    size: tuple[int, int] = (0, 0)


@dataclass(eq=False)
class _Type:
    """A type of numbers: made first, its order of bytes is given later."""

    kind: str
    order: str = "<"


@dataclass(frozen=True, eq=False)
class ReleasedImage:
    """What the pickle says of an image.

    Attributes:
        height, width: pixels of its masks.
        masks: compressed COCO counts of its n masks.
        shares: (n, 2) float64: semantic granularity and scale of each.
    """

    height: int
    width: int
    masks: tuple[bytes, ...]
    shares: NDArray[np.float64]


def read_released(path: Path, found: Callable[[str, ReleasedImage], None]) -> None:
    """Read a file image by image.

    Args:
        path: the file.
        found: called with the name of every image and what the file says of it.

    Raises:
        UserError: the file is damaged, holds something else than arrays, or an array is too large.
    """
    where = printable(str(path))

    def emit(key: Any, value: Any) -> None:
        if not isinstance(key, str) or not isinstance(value, dict):
            raise DamagedPickleError("it is no dict of images by their names")
        image = _image(key, value)
        found(key, image)
        for part in value.values():
            if isinstance(part, Array):
                # The pickle's memo keeps the array.
                part.values = part.masks = None

    with open_file(path, limits.EXCHANGE_FILE_BYTES) as (file, _):
        try:
            rest = read_pickle(
                _Bounded(file), _check_name, _build, set_state=_fill, emit=emit, operations=limits.RELEASED_OPERATIONS
            )
            if not isinstance(rest, dict) or rest:
                raise DamagedPickleError("it is no dict of images by their names")
        except DamagedPickleError as error:
            raise UserError(f"{where} is no pickle of the authors' generator: {error}") from None


class _Bounded:
    """A file of which no more is read at a time than the largest array has."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= limits.RELEASED_ARRAY_BYTES:
            raise DamagedPickleError(f"a part of {size:,} bytes; the limit is {limits.RELEASED_ARRAY_BYTES:,}")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline(limits.STORED_TEXT_LENGTH)

    def tell(self) -> int:
        return self._file.tell()


def _check_name(name: str) -> None:
    if name not in ALLOWED:
        raise DamagedPickleError(f"it names {excerpt(name)}, which arrays don't need; nothing of it was run")


def _build(named: Named) -> Any:
    """The value of a call, which is not run."""
    arguments = named.arguments or ()
    if named.name in MADE:
        return Array()
    if named.name in BUFFERED:
        content, kind, shape, order = arguments
        array = Array()
        _set(array, shape, kind, order != "C", content)
        return array
    if named.name == "numpy.dtype":
        kind = str(arguments[0]).lstrip("|<")
        if kind not in TYPES:
            raise DamagedPickleError(f"it has numbers of the type {excerpt(kind)}, which is not read")
        return _Type(kind)
    if named.name == "_codecs.encode" and arguments[1:] == ("latin1",):
        return arguments[0].encode("latin1")
    raise DamagedPickleError(f"it calls {excerpt(named.name)}; nothing of it was run")


def _fill(target: Any, state: Any) -> None:
    """Give something that was made its content."""
    if isinstance(target, _Type):
        target.order = state[1]
        if target.order not in ("<", "|", "="):
            raise DamagedPickleError("it has numbers in an order of bytes that is not read")
    elif isinstance(target, Array):
        _, shape, kind, by_columns, content = state
        _set(target, shape, kind, by_columns, content)
    else:
        raise DamagedPickleError("it fills something that is no array")


def _set(array: Array, shape: Any, kind: Any, by_columns: Any, content: Any) -> None:
    sound = isinstance(kind, _Type) and isinstance(content, bytes | bytearray) and isinstance(shape, tuple)
    if not sound or not all(type(side) is int and 0 <= side <= limits.RELEASED_ARRAY_BYTES for side in shape):
        raise DamagedPickleError("an array has no shape, type or content")
    dtype = np.dtype(kind.kind)
    if math.prod(shape) * dtype.itemsize != len(content) or len(shape) > 3:
        raise DamagedPickleError("an array has another shape than its content")
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")
    if values.ndim < 3:
        array.values = values
        return
    height, width = shape[1:]
    if dtype.kind not in "bui" or not 0 < height * width <= limits.IMAGE_PIXELS:
        raise DamagedPickleError(f"it has masks of {height} x {width} pixels of the type {dtype}")
    # A thousand images wait for the operation that puts them into the dict.
    array.masks = tuple(encode(crop_mask(mask != 0, height, width)) for mask in values)
    array.size = height, width


def _image(name: str, value: dict[Any, Any]) -> ReleasedImage:
    masks, shares = value.get("mask"), value.get("gra")
    if not (isinstance(masks, Array) and isinstance(shares, Array)) or masks.masks is None or shares.values is None:
        raise DamagedPickleError(f"image {excerpt(name)} has no masks in mask and numbers in gra of its own")
    found = shares.values.astype(np.float64)
    if found.shape not in ((len(masks.masks),), (len(masks.masks), 2)):
        raise DamagedPickleError(f"image {excerpt(name)} has {len(masks.masks)} masks and gra of shape {found.shape}")
    if not ((found >= 0) & (found <= 1)).all():
        raise DamagedPickleError(f"image {excerpt(name)} has a granularity that is not from 0 to 1")
    return ReleasedImage(*masks.size, masks.masks, found if found.ndim == 2 else np.stack([found, found], 1))
