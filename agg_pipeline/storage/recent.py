"""What was read last, within a limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key; those used longest ago go when their sizes add up to more than a limit.

    Sent to another process, it arrives empty.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit = limit
        self._size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._held = 0

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not held; at least the last one always is."""
        if key not in self._values:
            self._values[key] = make()
            self._held += self._size(self._values[key])
            while self._held > self._limit and len(self._values) > 1:
                self._held -= self._size(self._values.popitem(last=False)[1])
        self._values.move_to_end(key)
        return self._values[key]

    def __reduce__(self) -> tuple[type[Recent[Key, Value]], tuple[int, Callable[[Value], int]]]:
        return Recent, (self._limit, self._size)
