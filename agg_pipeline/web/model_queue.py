"""One thread for the model: requests wait in the order in which they came, urgent ones before the others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import Any, TypeVar

T = TypeVar("T")


class Urgency(IntEnum):
    """What a visitor waits for, and what only may be wanted next."""

    NOW = 0
    NEXT = 1


class ReplacedError(Exception):
    """A newer request of the same visitor has made one superfluous before its turn came."""


class ModelQueue:
    """Runs functions in a thread of its own, one at a time.

    A visitor has one waiting request of each urgency: a newer one takes its place at the end of the line. Requests of
    nobody all stay.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "model")
        self._numbers = itertools.count()
        self._waiting: dict[tuple[str | None, Urgency], asyncio.Future[None]] = {}
        self._line: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._busy = False

    async def run(self, visitor: str | None, urgency: Urgency, work: Callable[..., T], *arguments: Any) -> T:
        """Run a function when its turn has come.

        Args:
            visitor: whose older request of this urgency is replaced; None: none is, and none replaces this one.
            urgency: urgent requests of all visitors come first.
            work: the function.
            arguments: its arguments.

        Raises:
            ReplacedError: a newer request has come from the same visitor before the turn of this one.
        """
        await self._turn(visitor, urgency)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._next()

    def close(self) -> None:
        """End the thread when its work is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, visitor: str | None, urgency: Urgency) -> None:
        if not self._busy:
            self._busy = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        key = visitor, urgency
        if visitor is not None:
            older = self._waiting.pop(key, None)
            if older is not None and not older.done():
                older.set_exception(ReplacedError())
            self._waiting[key] = turn
        self._line.append((urgency, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # Its turn had come just before it was given up.
                self._next()
            raise
        finally:
            if self._waiting.get(key) is turn:
                del self._waiting[key]

    def _next(self) -> None:
        self._line = [each for each in self._line if not each[2].done()]
        if not self._line:
            self._busy = False
            return
        first = min(self._line)
        self._line.remove(first)
        first[2].set_result(None)
