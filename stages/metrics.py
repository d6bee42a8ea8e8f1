"""Figures over many interactions: means with bootstrap intervals, and how well granularity controls the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from stages.draws import uniforms

RESAMPLES = 1000
CHUNK = 1 << 24
"""Numbers of a block of resamples that are held at a time."""
LOW, HIGH = 2.5, 97.5
"""Percentiles of a 95 % interval."""
GROWTH = 0.01
"""A mask that is larger by this share has grown."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A mean over ``count`` masks with its 95 % interval."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_means(values: Floats, images: Sequence[str], seed: int) -> list[MeanInterval]:
    """The mean of every column of (n, m) values with a percentile bootstrap interval; NaN counts as absent.

    images: of each row. Images are drawn, not masks, because the masks of an image are alike. A column without a value
    has mean NaN.
    """
    there = ~np.isnan(values)
    sums, counts = _by_image(np.where(there, values, 0.0), images), _by_image(there.astype(float), images)
    drawn_sums, drawn_counts = [], []
    for weights in _resamples(len(sums), seed):
        drawn_sums.append(weights @ sums)
        drawn_counts.append(weights @ counts)
    total, means = np.concatenate(drawn_counts), np.concatenate(drawn_sums)
    means = np.divide(means, total, out=np.full_like(means, np.nan), where=total > 0)
    estimates = []
    for column in range(values.shape[1]):
        count = int(there[:, column].sum())
        if not count:
            estimates.append(MeanInterval(float("nan"), float("nan"), float("nan"), 0))
            continue
        # In a small group a resample can miss every image that has a value.
        low, high = np.nanpercentile(means[:, column], (LOW, HIGH))
        estimates.append(MeanInterval(float(values[there[:, column], column].mean()), float(low), float(high), count))
    return estimates


def _by_image(values: Floats, images: Sequence[str]) -> Floats:
    """Sums over the rows of each image, images in the order of their first row."""
    numbers: dict[str, int] = {}
    rows = [numbers.setdefault(image, len(numbers)) for image in images]
    sums = np.zeros((len(numbers), values.shape[1]))
    np.add.at(sums, rows, values)
    return sums


def _resamples(count: int, seed: int) -> Iterator[Floats]:
    """How often each of ``count`` images is drawn in each resample, in blocks of resamples."""
    size = max(1, CHUNK // max(1, count))
    for first in range(0, RESAMPLES, size):
        block = range(first, min(first + size, RESAMPLES))
        weights = np.empty((len(block), count))
        for row, resample in enumerate(block):
            drawn = (uniforms(seed, "bootstrap", "", 0, "images", resample, count) * count).astype(np.int64)
            weights[row] = np.bincount(drawn, minlength=count)
        yield weights


@dataclass(frozen=True, slots=True)
class Control:
    """How granularity controls one mask.

    spearman: rank correlation of granularity and predicted area, 0 if the area is always the same. grows: share of the
    steps to the next granularity at which the mask grows by at least 1 %; shrinks: at which it becomes smaller.
    ratio: area at 0.2 over area at 1.0, NaN where the latter is 0.
    """

    spearman: float
    grows: float
    shrinks: float
    ratio: float


def control(areas: Sequence[int]) -> Control:
    """Controllability from the predicted pixels at granularity 0.1, 0.2, ..., 1.0."""
    values = np.asarray(areas, float)
    before, after = values[:-1], values[1:]
    return Control(
        spearman=spearman(np.arange(len(values), dtype=float), values),
        grows=float(np.mean((after > before) & (after >= (1 + GROWTH) * before))),
        shrinks=float(np.mean(after < before)),
        ratio=float(values[1] / values[-1]) if values[-1] else float("nan"),
    )


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation of two sequences, ties with their mean rank; 0 if one of them is constant."""
    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0
