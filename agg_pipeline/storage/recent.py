"""The values that were used last, up to a limit of their sizes: the project's one LRU cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A cache for one thread; sent to another process, it arrives empty.

    Args:
        limit: largest sum of the sizes of the values that are kept. The value that was used last is kept in any case.
        size: size of a value, in the unit of ``limit``.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit = limit
        self._size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._held = 0

    def find(self, key: Key) -> Value | None:
        """The value of a key, or None if it is not kept."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key. If it is not kept, it is made, and the values used longest ago go to make room."""
        if key not in self._values:
            value = self._values[key] = make()
            self._held += self._size(value)
            while self._held > self._limit and len(self._values) > 1:
                self._held -= self._size(self._values.popitem(last=False)[1])
        self._values.move_to_end(key)
        return self._values[key]

    def __reduce__(self) -> tuple[type[Recent[Key, Value]], tuple[int, Callable[[Value], int]]]:
        return Recent, (self._limit, self._size)
