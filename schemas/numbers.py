"""Granularity bins and rounding, as the protocol states them (section 1), and whole numbers in texts."""

from __future__ import annotations

import re

_DIGITS = re.compile("0*([0-9]{1,18})")

BINS = 10
"""Number of granularity bins."""
GRANULARITIES = tuple(number / BINS for number in range(1, BINS + 1))
"""0.1, 0.2, ..., 1.0: the granularities that an evaluation tries where it looks for the best one."""


def round_to_tenth(value: float) -> float:
    """The nearest multiple of 0.1; ten times the value is rounded half to even."""
    return round(10.0 * value) / 10.0


def granularity_bin(granularity: float) -> int:
    """Bin 1..10 of a granularity in [0, 1]: ten times the value, rounded half to even, at least 1."""
    return min(BINS, max(1, round(10.0 * granularity)))


def whole_number(text: str) -> int | None:
    """The whole number, of up to 18 digits, that a text of others is; None if it is none.

    ``int`` raises ValueError for texts that ``str.isdecimal`` lets pass: those of more than 4300 digits.
    """
    digits = _DIGITS.fullmatch(text)
    return int(digits[1]) if digits else None
