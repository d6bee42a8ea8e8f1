"""How long an image takes, measured on a few images and one batch of the model."""

from __future__ import annotations

import time

from agg_pipeline.execution.chain import ShardTask, TimedModel
from agg_pipeline.proposals.pipeline import load
from schemas.config import LoopConfig, ProposalsConfig
from schemas.records import Click, Interaction

KEPT = 0.9
"""Share of the candidates and of their complements that are kept and go through the estimator, roughly."""


def seconds_per_image(sample: ShardTask[ProposalsConfig], model: TimedModel) -> float:
    """Seconds that one process takes for an image like those of the sample, which are read for it."""
    started = time.perf_counter()
    targets = load(sample).targets
    loading = (time.perf_counter() - started) / len(sample.entries)
    if not targets:
        return loading
    target = targets[0]
    box = target.object.mask.box
    click = Click(box.top, box.left, True)
    batch = [
        Interaction(target.image.pixels, (click,), prompt=target.object.mask, focus=target.object.mask)
    ] * sample.config.batch.batch_objects
    model.predict(batch)
    started = time.perf_counter()
    model.predict(batch)
    forward = (time.perf_counter() - started) / len(batch)
    if sample.config.source == "gt":
        forwards: float = sum(len(target.object.parts) for target in targets)
    else:
        forwards = len(targets) * _forwards(sample.config.loop)
    return loading + forwards / len(sample.entries) * forward


def _forwards(loop: LoopConfig) -> float:
    """Forwards per object: those of its loops and the estimator's."""
    steps = 1 + (loop.min_negatives + loop.max_negatives) / 2
    kept = steps if loop.keep == "all" else 1
    return loop.rounds * (steps + 2 * KEPT * kept)
