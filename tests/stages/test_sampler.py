"""Inverse-frequency weights by hand, and the balance that they are made for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.sampler import bin_shares, draw_probabilities, row_weights

BIN_LISTS = st.lists(st.integers(1, 10), min_size=1, max_size=40)


def test_shares_and_weights_by_hand():
    bins = np.array([1, 1, 1, 10, 5, 10, 1, 1], np.int8)
    shares = bin_shares(bins)
    np.testing.assert_allclose(shares, [5 / 8, 0, 0, 0, 1 / 8, 0, 0, 0, 0, 2 / 8])
    np.testing.assert_allclose(row_weights(bins), [1.6, 1.6, 1.6, 4, 8, 4, 1.6, 1.6])


def test_no_rows_have_no_shares():
    np.testing.assert_array_equal(bin_shares(np.array([], np.int8)), np.zeros(10))
    assert row_weights(np.array([], np.int8)).shape == (0,)


@settings(deadline=None, max_examples=60)
@given(BIN_LISTS)
def test_every_bin_that_occurs_has_the_same_mass(bins):
    bins = np.array(bins, np.int8)
    weights = row_weights(bins)
    masses = np.bincount(bins, weights, minlength=11)[np.unique(bins)]
    np.testing.assert_allclose(masses, masses[0])
    np.testing.assert_allclose(masses[0], len(bins))


def test_draw_probabilities_by_hand():
    # Weights 2 and 8; the bin of weight 8 has two rows in this image, each with half of it.
    probabilities = draw_probabilities(np.array([1, 5, 5]), np.array([2.0, 8.0, 8.0]))
    np.testing.assert_allclose(probabilities, [0.2, 0.4, 0.4])


@settings(deadline=None, max_examples=60)
@given(BIN_LISTS, st.data())
def test_draw_probabilities_sum_to_one_and_share_a_bin_equally(all_bins, data):
    count = data.draw(st.integers(1, len(all_bins)))
    bins = np.array(all_bins[:count], np.int8)
    weights = row_weights(np.array(all_bins, np.int8))[:count]
    probabilities = draw_probabilities(bins, weights)
    assert probabilities.dtype == np.float64
    assert probabilities.sum() == pytest.approx(1.0)
    masses = np.bincount(bins, probabilities, minlength=11)
    for number in np.unique(bins):
        assert len(np.unique(probabilities[bins == number])) == 1
        assert masses[number] / masses[bins[0]] == pytest.approx(weights[bins == number][0] / weights[0])


def test_images_with_one_row_of_every_bin_give_equally_likely_bins():
    bins = np.arange(1, 11)
    np.testing.assert_allclose(draw_probabilities(bins, row_weights(bins)), 0.1)
