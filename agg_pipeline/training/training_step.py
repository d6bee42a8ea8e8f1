"""One update: iterative clicks without gradient, then the loss of the last prediction (protocol, section 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from agg_pipeline.models.simpleclick import draw_disks
from agg_pipeline.training.training_batches import Batch
from agg_pipeline.training.training_methods import Loss, Method
from schemas.records import Click
from schemas.training import TrainingConfig
from stages.draws import generator
from stages.finetune import corrective_clicks, lower_rows, order_loss, with_corrections


def update(
    fabric: Fabric,
    network: Any,
    optimizer: Any,
    batch: Batch,
    step: int,
    epoch: float,
    method: Method,
    config: TrainingConfig,
    pool: Executor | None = None,
) -> float:
    """Update the weights from one batch, unless its loss is not finite.

    All random numbers depend on the seed, the step and the process alone, so that the step can be repeated.

    Args:
        fabric: the device, and the other processes.
        network: the network as ``fabric`` wraps it.
        optimizer: its optimiser as ``fabric`` wraps it.
        batch: this process's share of the batch.
        step: number of the step, from 0.
        epoch: epoch of the step, with its fraction.
        method: loss, iterative clicks and limit of the gradient.
        config: seed, devices and parts of a batch.
        pool: threads that search the errors for iterative clicks; None for this thread.

    Returns:
        The loss, the mean over all processes.
    """
    loss_of = method.loss(epoch)
    rounds = rounds_of(config, method, step, epoch)
    rng = generator(config.seed, "clicks", step, fabric.global_rank)
    torch.manual_seed(int(generator(config.seed, "dropout", step, fabric.global_rank).integers(2**63)))
    optimizer.zero_grad()
    total = 0.0
    size = -(-len(batch) // config.accumulate)
    starts = range(0, len(batch), size)
    for start in starts:
        part = batch.part(start, start + size)
        with fabric.no_backward_sync(network, enabled=config.devices > 1 and start != starts[-1]):
            loss = batch_loss(network, part, loss_of, rounds, rng, fabric.device, pool, method.order_weight)
            loss = loss * (len(part) / len(batch))
            fabric.backward(loss)
        total += float(loss.detach())
    if math.isfinite(total):
        if method.max_norm:
            fabric.clip_gradients(network, optimizer, max_norm=method.max_norm)
        optimizer.step()
    if config.devices > 1:
        mean = fabric.all_reduce(torch.tensor(total), reduce_op="mean")
        assert isinstance(mean, Tensor)
        total = float(mean)
    return total


def rounds_of(config: TrainingConfig, method: Method, step: int, epoch: float) -> int:
    """Draw the number of rounds of iterative clicks before a step.

    Args:
        config: its seed decides.
        method: gives the largest number of rounds.
        step: number of the step, from 0.
        epoch: epoch of the step, with its fraction.
    """
    return int(generator(config.seed, "rounds", step).integers(method.max_rounds(epoch) + 1))


def batch_loss(
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    rounds: int,
    rng: np.random.Generator,
    device: torch.device,
    pool: Executor | None = None,
    order_weight: float = 0.0,
) -> Tensor:
    """Mean loss of a batch after iterative clicks; only forwards after the last click have a gradient.

    Args:
        network: from image, click maps and rows of the granularity table to logits; left in training mode.
        batch: B samples.
        loss: per image.
        rounds: rounds of iterative clicks, each a forward in evaluation mode and one click per sample.
        rng: of the iterative clicks.
        device: of the network.
        pool: threads that search the errors; None for this thread.
        order_weight: weight of the order loss, for which there is a forward at lower granularities; 0 for none.

    Returns:
        A scalar.
    """
    image = batch.pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div(255)
    # A batch without any row has no granularity input: nothing is added to the tokens.
    rows = None if bool((batch.rows < 0).all()) else batch.rows.to(device)
    corrections: list[list[Click | None]] = [[] for _ in batch.clicks]
    coords = torch.zeros(len(batch), 3, *image.shape[2:])  # (B, 3, S, S): mask prompt, positive and negative clicks
    coords[:, 0] = batch.prompt
    _draw_clicks(coords, batch.clicks)
    targets = batch.target.numpy()
    if rounds:
        network.eval()
        with torch.no_grad():
            for _ in range(rounds):
                probability = torch.sigmoid(network(image, coords.to(device), rows).float()).cpu()
                clicks = corrective_clicks(probability[:, 0].numpy(), targets, rng, pool)
                for own, click in zip(corrections, clicks, strict=True):
                    own.append(click)
                coords[:, :1] = probability
                _draw_clicks(coords, [with_corrections(*each) for each in zip(batch.clicks, corrections, strict=True)])
    network.train()
    seen = coords.to(device)
    logits = network(image, seen, rows).float()
    losses = loss(logits, batch.target.to(device).unsqueeze(1).float())
    if order_weight and rows is not None:
        finer = network(image, seen, lower_rows(batch.rows, rng).to(device)).float()
        losses = losses + order_weight * order_loss(finer, logits)
    return losses.mean()


def _draw_clicks(coords: Tensor, clicks: Sequence[Sequence[Click]]) -> None:
    """Draw the click maps of a batch in place; the mask prompts stay."""
    coords[:, 1:] = 0.0
    for maps, own in zip(coords.numpy(), clicks, strict=True):
        draw_disks(maps[1:], own)
