"""Ending a run by Ctrl-C, SIGTERM or a closed terminal, even if a library swallows the exception."""

from __future__ import annotations

import signal
import time

PATIENCE_SECONDS = 15.0
"""A further signal is taken as impatience, and does not disturb the clean-up, for so long after the first one."""

_asked: list[tuple[str, float]] = []


def watch_interrupts() -> None:
    """Let these signals raise KeyboardInterrupt: at once, and again in ``check_interrupt``."""
    _asked.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)
    # nohup ignores SIGHUP, and so does the run then.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _handle)


def ignore_interrupts() -> None:
    """Ignore these signals from now on: the interpreter is about to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if one of the signals has come."""
    if _asked:
        raise KeyboardInterrupt(_asked[0][0])


def _handle(number: int, _frame: object) -> None:
    now = time.monotonic()
    cleaning = bool(_asked) and now - _asked[0][1] < PATIENCE_SECONDS
    if not cleaning:
        _asked.insert(0, (signal.Signals(number).name, now))
        raise KeyboardInterrupt(_asked[0][0])
