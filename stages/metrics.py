"""Metrics over many interactions: means with bootstrap intervals, and how well granularity controls the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from stages.draws import uniforms

RESAMPLES = 1000
"""Resamples of the bootstrap."""
MAX_WEIGHTS = 1 << 24
"""Weights (resamples x images) that are held at a time, to bound the memory."""
LOW, HIGH = 2.5, 97.5
"""Percentiles at the ends of a 95 % interval."""
GROWTH = 0.01
"""A mask has grown if its area is larger by at least this share."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A mean with its 95 % interval.

    Attributes:
        mean: mean over the masks that have a value.
        low: lower end of the interval.
        high: upper end of the interval.
        count: number of masks that have a value; the other fields are NaN if it is 0.
    """

    mean: float
    low: float
    high: float
    count: int


def bootstrap_means(values: Floats, images: Sequence[str], seed: int) -> list[MeanInterval]:
    """Mean of every column with a percentile bootstrap interval.

    Images are resampled, not masks, because the masks of an image are alike.

    Args:
        values: (N, M) float64, one row per mask; NaN where a mask has no value.
        images: image id of each row.
        seed: seed of the resamples.

    Returns:
        One mean per column.
    """
    present = ~np.isnan(values)
    sums, counts = _by_image(np.where(present, values, 0.0), images), _by_image(present.astype(float), images)
    drawn_sums, drawn_counts = [], []
    for weights in _resamples(len(sums), seed):
        drawn_sums.append(weights @ sums)
        drawn_counts.append(weights @ counts)
    total, means = np.concatenate(drawn_counts), np.concatenate(drawn_sums)
    means = np.divide(means, total, out=np.full_like(means, np.nan), where=total > 0)
    return [_mean_interval(values[present[:, n], n], means[:, n]) for n in range(values.shape[1])]


def _mean_interval(values: Floats, resampled_means: Floats) -> MeanInterval:
    if not values.size:
        return MeanInterval(float("nan"), float("nan"), float("nan"), 0)
    # In a small group a resample can miss every image that has a value.
    low, high = np.nanpercentile(resampled_means, (LOW, HIGH))
    return MeanInterval(float(values.mean()), float(low), float(high), values.size)


def _by_image(values: Floats, images: Sequence[str]) -> Floats:
    """Sums over the rows of each image, images in the order of their first row."""
    numbers: dict[str, int] = {}
    rows = [numbers.setdefault(image, len(numbers)) for image in images]
    sums = np.zeros((len(numbers), values.shape[1]))
    np.add.at(sums, rows, values)
    return sums


def _resamples(count: int, seed: int) -> Iterator[Floats]:
    """Blocks of resamples: (resamples, count), how often each of ``count`` images is drawn."""
    size = max(1, MAX_WEIGHTS // max(1, count))
    for first in range(0, RESAMPLES, size):
        block = range(first, min(first + size, RESAMPLES))
        weights = np.empty((len(block), count))
        for row, resample in enumerate(block):
            drawn = (uniforms(seed, "bootstrap", "", 0, "images", resample, count) * count).astype(np.int64)
            weights[row] = np.bincount(drawn, minlength=count)
        yield weights


@dataclass(frozen=True, slots=True)
class Control:
    """How well granularity controls the predictions for one mask.

    Attributes:
        spearman: rank correlation of granularity and predicted area; 0 if the area never changes.
        grows: share of the steps to the next granularity at which the prediction grows by at least 1 %.
        shrinks: share of these steps at which it becomes smaller.
        ratio: area at granularity 0.2 over area at 1.0; NaN if the latter is 0.
    """

    spearman: float
    grows: float
    shrinks: float
    ratio: float


def control(areas: Sequence[int]) -> Control:
    """Controllability of one mask.

    Args:
        areas: predicted pixels at granularity 0.1, 0.2, ..., 1.0.
    """
    values = np.asarray(areas, float)
    before, after = values[:-1], values[1:]
    return Control(
        spearman=spearman(np.arange(len(values), dtype=float), values),
        grows=float(np.mean((after > before) & (after >= (1 + GROWTH) * before))),
        shrinks=float(np.mean(after < before)),
        ratio=float(values[1] / values[-1]) if values[-1] else float("nan"),
    )


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation of two (N,) sequences; ties share their mean rank; 0 if one sequence is constant."""
    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0
