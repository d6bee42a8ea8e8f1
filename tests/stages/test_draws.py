"""Random numbers: recorded constants, range, and independence of order."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.crop import crop_mask
from stages.draws import drawn_pixels, index, uniforms

RECORDED = [
    (
        (0, "sbd", "2008_000002", 1, "click", 0, 3),
        ["0x1.721d0150a6d20p-1", "0x1.c3ed6b2d0f144p-2", "0x1.6f1f68375d56ap-1"],
    ),
    ((7, "coco", "img", -1, "loop-length", 2, 2), ["0x1.1277b0875b908p-2", "0x1.50482a062b15cp-2"]),
    ((2**63 - 1, "é", "", 0, "", 0, 1), ["0x1.0eaf1ef2c6bfbp-1"]),
]


@pytest.mark.parametrize(("arguments", "numbers"), RECORDED)
def test_numbers_are_the_recorded_ones(arguments, numbers):
    # If these numbers change, every existing database would come out differently.
    assert [float(number).hex() for number in uniforms(*arguments)] == numbers


def test_numbers_do_not_depend_on_the_process():
    code = (
        "from stages.draws import uniforms; print(float(uniforms(0, 'sbd', '2008_000002', 1, 'click', 0, 1)[0]).hex())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == RECORDED[0][1][0]


def test_numbers_do_not_depend_on_what_was_drawn_before_or_on_the_count():
    alone = uniforms(1, "a", "b", 2, "click", 3, 4)
    np.random.default_rng(0).random(10)
    uniforms(1, "a", "b", 2, "click", 2, 40)
    np.testing.assert_array_equal(uniforms(1, "a", "b", 2, "click", 3, 9)[:4], alone)


@pytest.mark.parametrize("position", range(6))
def test_every_argument_but_the_count_changes_the_numbers(position):
    arguments = [1, "a", "b", 2, "click", 3]
    before = uniforms(*arguments, 4)
    arguments[position] = arguments[position] + (1 if isinstance(arguments[position], int) else "x")
    assert not np.isclose(uniforms(*arguments, 4), before).any()


def test_arguments_do_not_run_into_each_other():
    assert uniforms(1, "ab", "c", 1, "p", 0, 1)[0] != uniforms(1, "a", "bc", 1, "p", 0, 1)[0]
    assert uniforms(1, "a", "b", 11, "p", 0, 1)[0] != uniforms(1, "a", "b1", 1, "p", 0, 1)[0]
    assert uniforms(11, "a", "b", 1, "p", 0, 1)[0] != uniforms(1, "1a", "b", 1, "p", 0, 1)[0]


def test_numbers_are_uniform_in_the_unit_interval():
    numbers = uniforms(0, "", "", 0, "many", 0, 20_000)
    assert numbers.dtype == np.float64
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 1000).max() < 150


@settings(deadline=None, max_examples=200)
@given(st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 2**40))
def test_index_is_always_below_the_count(uniform, count):
    chosen = index(uniform, count)
    assert type(chosen) is int
    assert 0 <= chosen < count


@pytest.mark.parametrize("count", [1, 2, 3, 7, 2**20, 2**52 + 1, 2**54 + 3])
def test_index_of_the_largest_number_is_the_last(count):
    largest = 1.0 - 2.0**-53
    assert index(largest, count) == count - 1 or count > 2**52
    assert index(largest, count) < count
    assert index(0.0, count) == 0


def test_indices_are_equally_likely():
    chosen = [index(number, 5) for number in uniforms(0, "", "", 0, "index", 0, 5000)]
    assert np.abs(np.bincount(chosen, minlength=5) - 1000).max() < 120


def test_drawn_pixels_are_the_pixels_of_the_mask_in_row_major_order():
    frame = np.zeros((9, 12), bool)
    frame[3, 4:7] = frame[5, 8] = True
    found = list(drawn_pixels(crop_mask(frame, *frame.shape), [0.0, 0.25, 0.5, 0.75, 0.999, 0.3]))
    assert found == [(3, 4), (3, 5), (3, 6), (5, 8), (5, 8), (3, 5)]
