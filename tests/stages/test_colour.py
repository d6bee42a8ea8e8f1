"""Differences of colour against values worked out by hand."""

import numpy as np
import pytest

from stages.colour import differences


def test_black_and_white_differ_by_a_hundred():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:] = 255
    found = differences(pixels, (20, 5), [(20, 50), (0, 0), (39, 59)])
    assert found == pytest.approx([100, 0, 100], abs=0.01)


def test_a_place_has_the_mean_of_what_is_around_it():
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels[4, 4] = 243
    # One pixel in 81 is 243: a mean of 3, whose lightness is 903.3 * (3 / 255 / 12.92).
    found = differences(np.pad(pixels, ((0, 0), (0, 9), (0, 0))), (4, 4), [(4, 13)])
    assert found == pytest.approx([903.3 * 3 / 255 / 12.92], rel=0.02), "OpenCV's powers are splines"
