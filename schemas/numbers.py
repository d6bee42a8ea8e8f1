"""Numbers of the protocol: tenths and granularity bins."""

BINS = 10


def round_to_tenth(value: float) -> float:
    """The nearest multiple of 0.1; ten times the value is rounded half to even."""
    return round(10.0 * value) / 10.0


def granularity_bin(granularity: float) -> int:
    """Bin 1..10 of a granularity in [0, 1]: ten times the value rounded half to even, at least 1."""
    return min(BINS, max(1, round(10.0 * granularity)))
