"""Ending a run by Ctrl-C, SIGTERM or a closed terminal, even if a library swallows the exception."""

from __future__ import annotations

import signal

_asked: list[str] = []


def watch_interrupts() -> None:
    """Let these signals raise KeyboardInterrupt: at once, and again in ``check_interrupt``."""
    _asked.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)
    # nohup ignores SIGHUP, and so does the run then.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _handle)


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if one of the signals has come."""
    if _asked:
        raise KeyboardInterrupt(_asked[0])


def _handle(number: int, _frame: object) -> None:
    _asked.append(signal.Signals(number).name)
    raise KeyboardInterrupt(_asked[0])
