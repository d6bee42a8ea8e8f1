"""How long a single click takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agg_pipeline.evaluation.interactions import load, starts_of
from agg_pipeline.execution.chain import ShardTask, TimedModel
from schemas.config import EvaluationConfig
from schemas.records import Interaction, Prediction
from stages.click_model import ClickModel
from stages.evaluate import evaluate

CLICKS, CLICKS_OF_EACH = 20, 4
"""Clicks whose latency is measured, and how many of them in the same interaction."""


@dataclass(frozen=True)
class Latency:
    """Seconds from a click to its mask, one interaction at a time: median and 95th percentile of ``clicks`` clicks."""

    median: float
    p95: float
    clicks: int


def measure_latency(sample: ShardTask[EvaluationConfig], model: TimedModel) -> Latency | None:
    """Latency of the clicks of one interaction after the other with the masks of a sample; None if it has none."""
    clock = _Clock(model)
    clicks = replace(sample.config.clicks, max_clicks=CLICKS_OF_EACH, early_stop=False)
    # The first click of all pays for what later ones find ready.
    for target in load(sample).targets[: 1 + CLICKS // CLICKS_OF_EACH]:
        start = starts_of(target, sample.dataset, sample.config)[0]
        evaluate([target.subject], [[start]], clock, clicks)
    seconds = clock.seconds[1 : CLICKS + 1]
    if not seconds:
        return None
    return Latency(float(np.median(seconds)), float(np.percentile(seconds, 95)), len(seconds))


class _Clock:
    """A model that notes how long each of its predictions takes."""

    def __init__(self, model: ClickModel) -> None:
        self.model = model
        self.seconds: list[float] = []

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        started = time.perf_counter()
        predictions = self.model.predict(interactions)
        self.seconds.append(time.perf_counter() - started)
        return predictions
