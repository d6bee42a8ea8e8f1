"""Steps of the recipe ``paper`` on one device, with the iterative clicks before them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import new_click_model
from agg_pipeline.models.simpleclick import attach_adapter
from agg_pipeline.training import training_step
from agg_pipeline.training.training_batches import Batch
from agg_pipeline.training.training_loop import click_threads, freeze_others
from agg_pipeline.training.training_methods import Finetuning
from agg_pipeline.training.training_processes import fabric_of
from schemas.records import Click
from schemas.training import FinetuneConfig
from stages.finetune import corrective_clicks


def _batch(size: int, side: int) -> Batch:
    """Samples of noise, with an ellipse each."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:side, :side] / side - 0.5
    radii = rng.uniform(0.1, 0.4, (size, 2, 1, 1))
    target = (rows / radii[:, 0]) ** 2 + (cols / radii[:, 1]) ** 2 < 1
    return Batch(
        torch.from_numpy(rng.integers(0, 256, (size, side, side, 3), np.uint8)),
        torch.from_numpy(target.astype(np.int8)),
        torch.zeros(size, side, side, dtype=torch.bool),
        tuple((Click(side // 2, side // 2, True),) for _ in range(size)),
        torch.arange(size) % 10,
    )


def samples_per_second(device: str, architecture: str, side: int, batch: int, steps: int) -> tuple[float, float]:
    """Samples a second, and the share of the time in which corrective clicks are searched."""
    config = FinetuneConfig()
    chosen = replace(
        config.training, device=device, precision="bf16-mixed" if device == "cuda" else "32-true", batch=batch
    )
    config = replace(config, training=chosen)
    method = Finetuning(config)
    fabric = fabric_of(config.training)
    network = new_click_model(ARCHITECTURES[architecture], side, 0)
    adapter = Adapter(network.arch.dim, network.arch.depth)
    adapter.initialise(torch.Generator().manual_seed(0))
    attach_adapter(network, adapter)
    names = frozenset(name for name, _ in network.named_parameters() if name.startswith("adapter."))
    learning = freeze_others(network, names)
    wrapped, optimizer = fabric.setup(network, method.optimizer(learning))
    samples = _batch(batch, side)
    searched: list[float] = []

    def timed(*arguments: Any) -> Sequence[Click | None]:
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        clicks = corrective_clicks(*arguments)
        searched.append(time.perf_counter() - began)
        return clicks

    spent = []
    with (
        ThreadPoolExecutor(click_threads(config.training)) as pool,
        patch.object(training_step, "corrective_clicks", timed),
    ):
        for step in range(steps + 1):
            if step == 1:
                searched.clear()
            began = time.perf_counter()
            training_step.update(fabric, wrapped, optimizer, samples, step, step / 100, method, config.training, pool)
            spent.append(time.perf_counter() - began)
    return batch / statistics.mean(spent[1:]), sum(searched) / sum(spent[1:])
