"""How long a run will take, measured on a few of its images and one batch of the model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from agg_pipeline.dag import TimedModel
from agg_pipeline.shard import ShardTask, load
from schemas.config import LoopConfig, ProposalsConfig
from schemas.records import Click, Interaction

SAMPLED_IMAGES = 4
KEPT = 0.9
"""Share of the candidates and of their complements that are kept and go through the estimator, roughly."""


def estimate_seconds(tasks: Sequence[ShardTask], model: TimedModel, config: ProposalsConfig, workers: int) -> float:
    """Seconds for all tasks by ``workers`` processes; 0 if no sampled image has an object."""
    entries = [entry for task in tasks for entry in task.entries]
    step = max(1, len(entries) // SAMPLED_IMAGES)
    sample = tuple(entries[::step][:SAMPLED_IMAGES])
    started = time.perf_counter()
    targets = load(replace(tasks[0], entries=sample)).targets
    loading = (time.perf_counter() - started) / len(sample)
    if not targets:
        return 0.0
    target = targets[0]
    box = target.object.mask.box
    interaction = Interaction(
        target.image.pixels, (Click(box.top, box.left, True),), target.object.mask, target.object.mask
    )
    batch = [interaction] * config.batch.batch_objects
    model.predict(batch)
    started = time.perf_counter()
    model.predict(batch)
    forward = (time.perf_counter() - started) / len(batch)
    objects = len(targets) / len(sample)
    return len(entries) * (loading + objects * _forwards(config.loop) * forward) / workers


def _forwards(loop: LoopConfig) -> float:
    """Forwards per object: the loop's and the estimator's."""
    steps = 1 + (loop.min_negatives + loop.max_negatives) / 2
    kept = steps if loop.keep == "all" else 1
    return steps + 2 * KEPT * kept
