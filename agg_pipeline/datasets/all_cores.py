"""A function of many images, applied in all cores of this machine; an image that kills its process costs no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from schemas import limits
from schemas.devices import available_cores
from schemas.errors import UserError, out_of_memory

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 4
"""Items that a process takes at a time. It ends those that it has begun before it stops."""
FEW = 64
"""The first items are done in one process, a copy of this one, which takes less time than to start others."""
AHEAD = 3
"""Chunks per process that are submitted before the first of them is done."""
TRIES = 2
"""An item whose process dies is tried again, because somebody else may have ended the process."""
MOST_DEATHS = 64
"""So many processes that die one after the other die of the machine, not of their items."""

NO_MEMORY = 71
"""Exit code of a process that has not enough memory for an item."""

Died = Callable[[T, str], R]
"""(an item, how its process died) -> the result in its place."""


def in_all_cores(function: Callable[[T], R], items: Sequence[T], died: Died[T, R]) -> Generator[R, None, None]:
    """Apply a function to all items, and give its results in the order of the items.

    Processes are started as results are asked for. They end when the iterator is exhausted or closed, and when this
    process is killed; Ctrl-C reaches this process alone.

    Args:
        function: applied to each item; it can be pickled, and so can its results.
        items: can be pickled.
        died: makes the result of an item whose process is killed, has not enough memory, or takes longer than
            ``limits.ITEM_SECONDS``, and so does the process that tries it again.

    Raises:
        UserError: many processes die one after the other.
    """
    yield from _guarded(function, items[:FEW], died)
    if len(items) <= FEW:
        return
    cores = available_cores()
    pool = _pool(cores)
    waiting: deque[tuple[Future[list[R]], Sequence[T]]] = deque()

    def first() -> Iterator[R]:
        future, chunk = waiting.popleft()
        try:
            yield from future.result()
        except BrokenProcessPool:
            # One of the items that were being worked on did it.
            yield from _guarded(function, chunk, died)

    try:
        for start in range(FEW, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            try:
                waiting.append((_submitted(pool, function, chunk), chunk))
            except BrokenProcessPool:
                pool.shutdown()
                pool = _pool(cores)
                waiting.append((_submitted(pool, function, chunk), chunk))
            if len(waiting) >= AHEAD * cores:
                yield from first()
        while waiting:
            yield from first()
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(cores: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _end_with_parent)


def _submitted(pool: ProcessPoolExecutor, function: Callable[[T], R], chunk: Sequence[T]) -> Future[list[R]]:
    with interrupts_blocked():
        return pool.submit(_mapped, function, chunk)


def _guarded(function: Callable[[T], R], items: Sequence[T], died: Died[T, R]) -> Iterator[R]:
    """Apply a function to items in a copy of this process; another copy continues behind an item that kills it."""
    context = multiprocessing.get_context("fork")
    rest, deaths, tries = deque(items), 0, 0
    while rest:
        here, there = context.Pipe()
        process = context.Process(target=_answer, args=(function, here, there))
        with _signals_blocked():
            process.start()
        there.close()
        try:
            while rest:
                answer = _answered(here, rest[0])
                if answer is None:
                    break
                fine, result = answer
                if not fine:
                    raise result
                deaths = tries = 0
                rest.popleft()
                yield result
            if rest:
                process.join()
                deaths, tries = deaths + 1, tries + 1
                if deaths == MOST_DEATHS:
                    raise UserError("processes that read images die one after the other; is there enough memory?")
                if tries == TRIES:
                    tries = 0
                    yield died(rest.popleft(), _how(process.exitcode))
        finally:
            here.close()
            process.kill()
            process.join()


def _answered(process: Connection, item: object) -> tuple[bool, Any] | None:
    """What a process makes of an item: whether it is no exception, and the result or exception; None if it died."""
    try:
        process.send(item)
        answer: tuple[bool, Any] = process.recv()
    except (EOFError, ConnectionError):
        return None
    return answer


def _answer(function: Callable[[T], R], parent: Connection, here: Connection) -> None:
    """Apply a function to the items that come in, until the other end is closed."""
    # This process has a copy of the other end, too, and would wait for itself.
    parent.close()
    with suppress(EOFError, ConnectionError):
        while True:
            item = here.recv()
            try:
                here.send((True, _timed(function, item)))
            except Exception as error:
                here.send((False, error))


def _how(exit_code: int | None) -> str:
    """How a process died, in words."""
    if exit_code == -signal.SIGALRM:
        return f"it took more than {limits.ITEM_SECONDS} seconds"
    if exit_code == NO_MEMORY:
        return "there was not enough memory"
    return f"it was killed by {signal.Signals(-exit_code).name}" if exit_code and exit_code < 0 else "it died"


def _timed(function: Callable[[T], R], item: T) -> R:
    """Apply a function; if that takes too long, or too much memory, this process ends."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits.ITEM_SECONDS)
    try:
        return function(item)
    except Exception as error:
        if not out_of_memory(error):
            raise
        # What else this process would do may fail as well.
        os._exit(NO_MEMORY)
    finally:
        signal.alarm(0)


def _end_with_parent() -> None:
    """Let this process end when its parent is killed: it would wait for work for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _mapped(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [_timed(function, item) for item in items]


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C and the like from the processes that start here: the main thread gets them, and then ends these."""
    # Started first, because its start would unblock the signals.
    start_tracker()
    with _signals_blocked():
        yield


@contextmanager
def _signals_blocked() -> Iterator[None]:
    with _blocked(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _blocked(*numbers: signal.Signals) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_tracker() -> None:
    """Start the process that cleans up after the others of multiprocessing, so that no closed terminal ends it first.

    It ignores Ctrl-C and SIGTERM by itself. Without it, multiprocessing prints tracebacks when the others end.
    """
    with _blocked(signal.SIGHUP):
        resource_tracker.ensure_running()
