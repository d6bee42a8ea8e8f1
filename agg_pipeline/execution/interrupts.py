"""Ctrl-C, SIGTERM, a closed terminal: a run ends at the next chance, even if a library has swallowed the exception."""

from __future__ import annotations

import signal

_asked: list[str] = []


def watch_interrupts() -> None:
    """From now on these signals raise KeyboardInterrupt, at once and in ``check_interrupt``."""
    _asked.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)
    # Under nohup it is ignored.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _handle)


def check_interrupt() -> None:
    """KeyboardInterrupt if one of the signals has come."""
    if _asked:
        raise KeyboardInterrupt(_asked[0])


def _handle(number: int, _frame: object) -> None:
    _asked.append(signal.Signals(number).name)
    raise KeyboardInterrupt(_asked[0])
