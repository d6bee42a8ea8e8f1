"""Tenths and bins, and whole numbers in texts."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.numbers import granularity_bin, round_to_tenth, whole_number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.0, 1),
        (0.05, 1),
        (0.1, 1),
        (0.14, 1),
        (0.15, 2),
        (0.16, 2),
        (0.25, 2),
        (0.26, 3),
        (0.35, 4),
        (0.45, 4),
        (0.55, 6),
        (0.65, 6),
        (0.75, 8),
        (0.85, 8),
        (0.95, 10),
        (0.94, 9),
        (1.0, 10),
    ],
)
def test_bin_is_ten_times_the_granularity_half_to_even(value, number):
    assert granularity_bin(value) == number


@pytest.mark.parametrize("tenths", range(1, 11))
def test_multiples_of_a_tenth_have_their_own_bin(tenths):
    assert granularity_bin(tenths / 10) == tenths


@settings(deadline=None, max_examples=100)
@given(st.floats(0.0, 1.0))
def test_bin_is_the_nearest_tenth(value):
    number = granularity_bin(value)
    assert 1 <= number <= 10
    assert type(number) is int
    if value >= 0.1:
        assert abs(Fraction(value) * 10 - number) <= Fraction(1, 2) + Fraction(1, 10**12)


@pytest.mark.parametrize(
    ("value", "tenth"), [(0.25, 0.2), (0.35, 0.4), (0.05, 0.0), (0.15, 0.2), (0.8499, 0.8), (1.0501, 1.1), (0.3, 0.3)]
)
def test_tenth_is_rounded_half_to_even(value, tenth):
    assert round_to_tenth(value) == tenth


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("16", 16),
        ("007", 7),
        ("9" * 18, 10**18 - 1),
        ("0" * 5000 + "1", 1),
        ("9" * 19, None),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1_0", None),
        (" 1", None),
        ("1\n", None),
        ("\u0661", None),
        ("\u00b2", None),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_whole_number_of_a_text(text, number):
    assert whole_number(text) == number
