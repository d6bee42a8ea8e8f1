"""A function of many images, applied in all cores of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TypeVar

from schemas.devices import available_cores
from schemas.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 4
"""Items that a process takes at a time. It ends those that it has begun before it stops."""
FEW = 64
"""The first items are done in this process, which takes less time than to start others."""
AHEAD = 3
"""Chunks per process that are submitted before the first of them is done."""


def in_all_cores(function: Callable[[T], R], items: Sequence[T]) -> Generator[R, None, None]:
    """Apply a function to all items, and give its results in the order of the items.

    Processes are started as results are asked for. They end when the iterator is exhausted or closed, and when this
    process is killed; Ctrl-C reaches this process alone.

    Args:
        function: applied to each item; it can be pickled, and so can its results.
        items: can be pickled.

    Raises:
        UserError: a process died.
    """
    yield from map(function, items[:FEW])
    if len(items) <= FEW:
        return
    cores = available_cores()
    pool = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _end_with_parent)
    waiting: deque[Future[list[R]]] = deque()
    try:
        for start in range(FEW, len(items), CHUNK):
            with interrupts_blocked():
                waiting.append(pool.submit(_mapped, function, items[start : start + CHUNK]))
            if len(waiting) >= AHEAD * cores:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError("a process that read images died; is there enough memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process end when its parent is killed: it would wait for work for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _mapped(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C and the like from the processes that start here: the main thread gets them, and then ends these."""
    # Started first, because its start would unblock the signals.
    start_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_tracker() -> None:
    """Start the process that cleans up after the others of multiprocessing, so that no closed terminal ends it first.

    It ignores Ctrl-C and SIGTERM by itself. Without it, multiprocessing prints tracebacks when the others end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
