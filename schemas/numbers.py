"""Numbers of the protocol: tenths and granularity bins."""

BINS = 10
GRANULARITIES = tuple(number / BINS for number in range(1, BINS + 1))
"""0.1, 0.2, ..., 1.0: those that are tried where the best is wanted."""


def round_to_tenth(value: float) -> float:
    """The nearest multiple of 0.1; ten times the value is rounded half to even."""
    return round(10.0 * value) / 10.0


def granularity_bin(granularity: float) -> int:
    """Bin 1..10 of a granularity in [0, 1]: ten times the value rounded half to even, at least 1."""
    return min(BINS, max(1, round(10.0 * granularity)))
