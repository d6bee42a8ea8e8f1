"""Means with bootstrap intervals, rank correlation and controllability, against cases worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from stages import metrics
from stages.metrics import bootstrap_means, control, spearman


def column(*values):
    return np.array(values, float)[:, None]


def names(count):
    return [f"image {n}" for n in range(count)]


def test_constant_values_have_no_width():
    (estimate,) = bootstrap_means(column(3, 3, 3, 3), names(4), seed=0)
    assert (estimate.mean, estimate.low, estimate.high, estimate.count) == (3, 3, 3, 4)


def test_interval_of_many_values_matches_the_normal_distribution():
    values = np.random.default_rng(0).normal(5, 2, 2000)
    (estimate,) = bootstrap_means(values[:, None], names(2000), seed=0)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_two_values_give_the_whole_range():
    # Half of the resamples hold both, a quarter the first twice, a quarter the second twice.
    (estimate,) = bootstrap_means(column(1, 5), names(2), seed=0)
    assert (estimate.mean, estimate.low, estimate.high) == (3, 1, 5)


def test_images_are_drawn_and_not_masks():
    # Ten masks of one image say no more than one mask.
    values = column(*[1] * 10, *[5] * 10)
    (estimate,) = bootstrap_means(values, ["a"] * 10 + ["b"] * 10, seed=0)
    assert (estimate.low, estimate.high) == (1, 5)


def test_mean_is_over_masks_where_images_have_different_numbers_of_them():
    (estimate,) = bootstrap_means(column(1, 1, 1, 5), ["a", "a", "a", "b"], seed=0)
    assert estimate.mean == 2


def test_absent_values_do_not_count():
    values = np.array([[1, math.nan], [3, 7], [5, math.nan]])
    first, second = bootstrap_means(values, names(3), seed=0)
    assert (first.mean, first.count) == (3, 3)
    assert (second.mean, second.low, second.high, second.count) == (7, 7, 7, 1)
    (nothing,) = bootstrap_means(column(math.nan), names(1), seed=0)
    assert math.isnan(nothing.mean)
    assert nothing.count == 0


def test_interval_depends_on_the_seed_alone():
    values = np.random.default_rng(1).uniform(size=(40, 2))
    assert bootstrap_means(values, names(40), seed=3) == bootstrap_means(values, names(40), seed=3)
    assert bootstrap_means(values, names(40), seed=3) != bootstrap_means(values, names(40), seed=4)


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch):
    values = np.random.default_rng(1).uniform(size=(40, 2))
    whole = bootstrap_means(values, names(40), seed=3)
    monkeypatch.setattr(metrics, "MAX_WEIGHTS", 40 * 7)
    for ours, theirs in zip(bootstrap_means(values, names(40), seed=3), whole, strict=True):
        assert ours.low == pytest.approx(theirs.low, rel=1e-12)


def test_control_of_a_mask_that_grows_with_every_step():
    found = control([100, 200, 300, 400, 500, 600, 700, 800, 900, 1000])
    assert (found.spearman, found.grows, found.shrinks, found.ratio) == (pytest.approx(1), 1, 0, 0.2)


def test_constant_mask_is_not_controlled():
    found = control([100] * 10)
    assert (found.spearman, found.grows, found.shrinks, found.ratio) == (0, 0, 0, 1)


def test_control_counts_steps():
    # Grows by less than 1 %, by exactly 1 %, shrinks by a pixel, appears from nothing.
    found = control([1000, 1009, 1020, 1019, 0, 0, 0, 1, 1, 2])
    assert found.grows == pytest.approx(3 / 9)
    assert found.shrinks == pytest.approx(2 / 9)
    assert found.ratio == 1009 / 2


def test_control_of_a_mask_that_is_empty_at_the_end():
    found = control([5, 4, 3, 2, 1, 0, 0, 0, 0, 0])
    assert found.spearman < -0.9
    assert math.isnan(found.ratio)
    assert control([0] * 10).spearman == 0


def test_spearman_by_hand():
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 * 15).
    assert spearman(np.arange(4.0), np.array([10.0, 30, 20, 40])) == pytest.approx(0.8)
    # A tie has the mean rank 1.5: covariance 1.5 over the root of 2 * 1.5.
    assert spearman(np.arange(3.0), np.array([7.0, 7, 9])) == pytest.approx(1.5 / math.sqrt(2 * 1.5))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=10))
def test_spearman_matches_scipy(values):
    y = np.array(values, float)
    expected = 0.0 if len(set(values)) == 1 else spearmanr(np.arange(len(y)), y).statistic
    assert spearman(np.arange(float(len(y))), y) == pytest.approx(expected)
