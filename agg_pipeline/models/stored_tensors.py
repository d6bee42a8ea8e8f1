"""Files that torch writes (a zip archive, or one stream before torch 1.6), read without torch's unpickler.

What a tensor claims (shape, strides, place) is checked against the file before a byte of it is read.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from typing import Any

import torch
from torch import Tensor

from agg_pipeline.models.inert_pickle import DamagedPickleError, Named, read_pickle
from agg_pipeline.models.zip_places import Place, zip_places
from schemas.limits import JSON_DEPTH, PICKLE_BYTES, PICKLE_OPERATIONS, TENSOR_DIMENSIONS
from schemas.words import excerpt

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a file of torch before 1.6: a pickled number."""
LEGACY_PICKLES = 3
"""Pickles of such a file before its content: this number, the version of the protocol, and facts on the machine."""
DTYPES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
REBUILD = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
ORDERED = "collections.OrderedDict"
NUMBERS = re.compile(
    r"torch\.((cuda\.)?\w*Storage|b?float\w+|q?u?int\w+|bool|complex\w+|Size|device)|torch\.storage\.\w*Storage"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+|torch\.serialization\._get_layout"
    r"|collections\.OrderedDict|builtins\.(set|bytearray|complex)|_codecs\.encode"
    r"|numpy\.dtype|numpy\.dtypes\.\w+|numpy\._?core\.multiarray\.scalar"
)
"""What torch and numpy name where they store tensors and numbers."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in a file.

    Args:
        dtype: of a number.
        key: its name in the file.
        numel: count of the numbers.
    """

    dtype: torch.dtype
    key: str
    numel: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A view of a storage; it lies inside the storage, and has no more numbers than it.

    Args:
        storage: where the numbers are.
        offset: number of the first one.
        shape, stride: of the tensor.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


@dataclass(frozen=True)
class StoredContent:
    """What a file holds, with its tensors still in it.

    Args:
        value: plain values, with ``StoredTensor`` for tensors and ``Named`` for objects of classes.
        stream: of the file.
        places: where the storages are, by key.
    """

    value: Any
    stream: BufferedIOBase
    places: Mapping[str, Place]

    def read(self, tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
        """Read tensors.

        Args:
            tensors: by name.

        Returns:
            The tensors on the CPU, by name; they may share storages.

        Raises:
            DamagedPickleError: a storage is missing, damaged or of another size, or the tensors claim more than is
                stored.
            OSError: the file cannot be read.
        """
        storages = {each.storage for each in tensors.values()}
        if len({each.key for each in storages}) < len(storages):
            raise DamagedPickleError("it describes a storage in two ways")
        claimed = sum(each.nbytes for each in tensors.values())
        if claimed > sum(each.numel * each.dtype.itemsize for each in storages):
            raise DamagedPickleError("its tensors claim more numbers than it holds")
        flat = {storage: self._numbers(storage) for storage in storages}
        return {
            name: flat[each.storage].as_strided(each.shape, each.stride, each.offset) for name, each in tensors.items()
        }

    def read_all(self) -> Any:
        """The whole value with its tensors read; raises as ``read`` does, and where it is nested too deeply."""
        found = {leaf for leaf in leaves(self.value) if isinstance(leaf, StoredTensor)}
        names = {str(number): each for number, each in enumerate(found)}
        tensors = self.read(names)
        return _filled(self.value, {each: tensors[name] for name, each in names.items()}, JSON_DEPTH)

    def _numbers(self, storage: Storage) -> Tensor:
        place = self.places.get(storage.key)
        if place is None or place.nbytes != storage.numel * storage.dtype.itemsize:
            raise DamagedPickleError(f"its storage {excerpt(storage.key)} is missing or of another size")
        return torch.frombuffer(read_place(self.stream, place), dtype=storage.dtype)


def read_stored(stream: BufferedIOBase, size: int, check_name: Callable[[str], None]) -> StoredContent:
    """Read what a file of torch holds, but for its tensors.

    Args:
        stream: of the file, at its beginning.
        size: of the file, in bytes.
        check_name: called with every name of a class or function in the file; raises to refuse it.

    Returns:
        The content.

    Raises:
        DamagedPickleError: the file is damaged, or holds what files of models don't.
        OSError: the file cannot be read.
    """
    head = stream.read(len(LEGACY))
    if head.startswith(ZIP):
        places = zip_places(stream, size)
        pickled = BytesIO(read_place(stream, places.pop("data.pkl")))
        storages = {name.removeprefix("data/"): place for name, place in places.items() if name.startswith("data/")}
        return StoredContent(read_pickle(pickled, check_name, _build), stream, storages)
    if head != LEGACY:
        raise DamagedPickleError("it is no file of torch")
    pickled = BytesIO(head + stream.read(PICKLE_BYTES))
    for _ in range(LEGACY_PICKLES - 1):
        read_pickle(pickled, check_name, _build)
    machine = read_pickle(pickled, check_name, _build)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise DamagedPickleError("its numbers are big-endian")
    value = read_pickle(pickled, check_name, _build)
    keys = read_pickle(pickled, check_name, _build)
    return StoredContent(value, stream, dict(_legacy_places(stream, size, pickled.tell(), keys, value)))


def read_place(stream: BufferedIOBase, place: Place) -> bytearray:
    """The bytes of a place in a file; DamagedPickleError if the file is shorter or their checksum is another one."""
    stream.seek(place.start)
    content = bytearray(place.nbytes)
    if stream.readinto(content) != place.nbytes:
        raise DamagedPickleError("it is truncated")
    if place.crc is not None and zlib.crc32(content) != place.crc:
        raise DamagedPickleError("its checksum is wrong")
    return content


def leaves(value: Any) -> Iterator[Any]:
    """The values in nested dicts, lists and tuples; DamagedPickleError if there are too many.

    Containers that occur several times are gone through several times.
    """
    waiting, seen = [value], 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list | tuple):
            seen += len(each)
            if seen > PICKLE_OPERATIONS:
                raise DamagedPickleError(f"it has more than {PICKLE_OPERATIONS} values")
            waiting += each.values() if isinstance(each, dict) else each
        else:
            yield each


def _filled(value: Any, tensors: Mapping[StoredTensor, Tensor], deepest: int) -> Any:
    if deepest < 0:
        raise DamagedPickleError("its content is nested too deeply")
    match value:
        case StoredTensor():
            return tensors[value]
        case dict():
            return {key: _filled(each, tensors, deepest - 1) for key, each in value.items()}
        case list() | tuple():
            return type(value)(_filled(each, tensors, deepest - 1) for each in value)
    return value


def _build(named: Named) -> Any:
    """The value of a call that files of models have; other objects stay what they are."""
    if named.mark is not None:
        return _storage(named.mark)
    arguments = named.arguments or ()
    if named.name == ORDERED and not arguments:
        return {}
    if named.name in PARAMETER and arguments and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    if named.name in REBUILD and len(arguments) >= 4 and isinstance(arguments[0], Storage):
        return _tensor(*arguments[:4])
    return named


def _storage(mark: tuple[Any, ...]) -> Any:
    """The storage of a persistent id: "storage", type, key, location, count of numbers, and in old files a view."""
    match mark:
        case ("storage", Named(name, None, None), str(key), _, int(numel), *view) if view in ([], [None]):
            return Storage(DTYPES[name], key, numel) if name in DTYPES and numel > 0 else Named(name, ())
    raise DamagedPickleError("its pickle names a storage in a way that is not supported")


def _tensor(storage: Storage, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    for each in (shape, stride):
        if not isinstance(each, tuple) or len(each) > TENSOR_DIMENSIONS or not all(type(n) is int for n in each):
            raise DamagedPickleError("a tensor's shape is no list of numbers")
    if type(offset) is not int or len(shape) != len(stride) or min(offset, *shape, *stride, 0) < 0:
        raise DamagedPickleError("a tensor has negative sizes")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 in shape:
        raise DamagedPickleError("a tensor has no numbers")
    if math.prod(shape) > storage.numel:
        raise DamagedPickleError(f"a tensor claims more than the {storage.numel} numbers that are stored for it")
    if last >= storage.numel:
        raise DamagedPickleError("a tensor lies outside of the numbers that are stored for it")
    return StoredTensor(storage, offset, shape, stride)


def _legacy_places(stream: BufferedIOBase, size: int, start: int, keys: Any, value: Any) -> Iterator[tuple[str, Place]]:
    """Where the storages of a file before torch 1.6 are: one after the other, each behind the count of its numbers."""
    storages = {each.storage.key: each.storage for each in leaves(value) if isinstance(each, StoredTensor)}
    if not isinstance(keys, list):
        raise DamagedPickleError("it does not list its storages")
    for key in keys:
        stream.seek(start)
        numel = int.from_bytes(stream.read(8), "little")
        # A storage that no tensor uses has no type, and the next one's place would be unknown.
        if not isinstance(key, str) or key not in storages or storages[key].numel != numel:
            raise DamagedPickleError("it lists a storage that no tensor uses")
        nbytes = numel * storages[key].dtype.itemsize
        if start + 8 + nbytes > size:
            raise DamagedPickleError("it is truncated")
        yield key, Place(start + 8, nbytes, None)
        start += 8 + nbytes
