"""Evaluation on one device: several objects and granularities in one batch, beside one after the other."""

from __future__ import annotations

import time

import torch

from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model
from agg_pipeline.models.simpleclick import attach_adapter, merge_lora
from benchmarks.gpu.scenes import scenes
from schemas.config import EvaluationConfig
from schemas.resolve import override
from stages.evaluate import Start, Subject, evaluate

GRANULARITIES = [number / 10 for number in range(1, 11)]


def objects_per_second(device: str, objects: int, batch: int, max_clicks: int) -> tuple[float, float]:
    """Objects a second in batches, and one object and one granularity at a time; ten granularities of each object."""
    config = override(EvaluationConfig(), {"clicks": {"max_clicks": max_clicks}, "predictor": {"flip": False}})
    network, _ = load_click_model(default_checkpoint())
    adapter = Adapter(network.arch.dim, network.arch.depth)
    adapter.initialise(torch.Generator().manual_seed(0))
    attach_adapter(network, adapter)
    merge_lora(network)
    model = Predictor(network.to(device), config.predictor)
    pixels, targets = scenes(range(objects))
    subjects = [Subject(pixels[each.image.image_id], each.object.mask, 0.9) for each in targets[:objects]]
    starts = [Start(granularity) for granularity in GRANULARITIES]

    def seconds(each_alone: bool) -> float:
        began = time.perf_counter()
        if each_alone:
            for subject in subjects:
                for start in starts:
                    evaluate([subject], [[start]], model, config.clicks)
        else:
            for first in range(0, len(subjects), batch):
                some = subjects[first : first + batch]
                evaluate(some, [starts] * len(some), model, config.clicks)
        return time.perf_counter() - began

    evaluate(subjects[:1], [starts], model, config.clicks)
    return len(subjects) / seconds(False), len(subjects) / seconds(True)
