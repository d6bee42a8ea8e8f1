"""A step of training: iterative clicks without gradient, then the loss of the last prediction (protocol, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from agg_pipeline.models.simpleclick import draw_disks
from agg_pipeline.training.samples import Batch
from schemas.records import Click
from stages.finetune import corrective_click, with_corrections

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of each image, (B,), from logits and targets (B, 1, S, S): 1, 0, or -1 for not counted."""


def batch_loss(
    network: nn.Module, batch: Batch, loss: Loss, rounds: int, rng: np.random.Generator, device: torch.device
) -> Tensor:
    """Mean loss of a batch after ``rounds`` rounds of iterative clicks; its graph is that of one forward."""
    image = batch.pixels.to(device).permute(0, 3, 1, 2).float().div(255)
    # No row at all is no granularity input: then nothing is added to the tokens.
    rows = None if bool((batch.rows < 0).all()) else batch.rows.to(device)
    corrections: list[list[Click | None]] = [[] for _ in batch.clicks]
    coords = torch.zeros(len(batch), 3, *image.shape[2:])
    coords[:, 0] = batch.prompt
    _draw(coords, batch.clicks)
    targets = batch.target.numpy()
    if rounds:
        network.eval()
        with torch.no_grad():
            for _ in range(rounds):
                probability = torch.sigmoid(network(image, coords.to(device), rows).float()).cpu()
                for n, own in enumerate(corrections):
                    own.append(corrective_click(probability[n, 0].numpy(), targets[n], rng))
                coords[:, :1] = probability
                _draw(coords, [with_corrections(*each) for each in zip(batch.clicks, corrections, strict=True)])
    network.train()
    logits = network(image, coords.to(device), rows).float()
    return loss(logits, batch.target.to(device).unsqueeze(1).float()).mean()


def _draw(coords: Tensor, clicks: Sequence[Sequence[Click]]) -> None:
    """The click maps of a batch, in place; the previous mask stays."""
    coords[:, 1:] = 0.0
    for maps, own in zip(coords.numpy(), clicks, strict=True):
        draw_disks(maps[1:], own)
