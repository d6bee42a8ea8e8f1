"""How long a single click takes, and how large the model is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agg_pipeline.evaluation.interactions import load, starts_of
from agg_pipeline.execution.batch_pixels import pixels_of
from agg_pipeline.execution.chain import TimedModel
from agg_pipeline.execution.shard_task import ShardTask
from schemas.config import EvaluationConfig
from schemas.records import Interaction, Prediction
from stages.click_model import ClickModel
from stages.evaluate import evaluate

CLICKS = 20
"""Number of clicks whose latency is measured."""
CLICKS_PER_MASK = 4
"""Clicks on one mask; then the next mask is taken."""


@dataclass(frozen=True)
class Latency:
    """Seconds from a click to its mask, with one interaction at a time.

    Attributes:
        median: median over the clicks.
        p95: their 95th percentile.
        clicks: number of clicks.
        parameters: number of the model's weights.
    """

    median: float
    p95: float
    clicks: int
    parameters: int


def measure_latency(sample: ShardTask[EvaluationConfig], model: TimedModel) -> Latency | None:
    """Latency of single clicks: interactions with the first masks of a sample; None if the sample has no masks."""
    clock = _Clock(model)
    clicks = replace(sample.config.clicks, max_clicks=CLICKS_PER_MASK, early_stop=False)
    shard = load(sample)
    pixels = pixels_of(shard)
    # One more mask than is needed: the very first click is slow and does not count.
    for target in shard.targets[: 1 + CLICKS // CLICKS_PER_MASK]:
        start = starts_of(target, sample.dataset, sample.config)[0]
        evaluate([target.subject(*pixels.of([target.image]))], [[start]], clock, clicks)
    seconds = clock.seconds[1 : CLICKS + 1]
    if not seconds:
        return None
    return Latency(float(np.median(seconds)), float(np.percentile(seconds, 95)), len(seconds), model.parameters)


class _Clock:
    """A model that records the seconds of each prediction."""

    def __init__(self, model: ClickModel) -> None:
        self.model = model
        self.seconds: list[float] = []

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        started = time.perf_counter()
        predictions = self.model.predict(interactions)
        self.seconds.append(time.perf_counter() - started)
        return predictions
