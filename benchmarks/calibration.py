"""How fast the machine is at the moment, so that numbers of different days can be compared."""

from __future__ import annotations

import time

ADDITIONS = 20_000_000


def speed_of_python() -> float:
    """Seconds that a loop of 20 million additions takes."""
    began, total = time.perf_counter(), 0
    for number in range(ADDITIONS):
        total += number
    return time.perf_counter() - began
