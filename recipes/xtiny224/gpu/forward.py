"""The click model's forward on the card, in bfloat16, and its validation by simulated clicks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from agg_pipeline.models.simpleclick import SimpleClick
from recipes.xtiny224.gpu.card import Card
from recipes.xtiny224.gpu.clicks import correct, disks
from stages.finetune import THRESHOLD

CLICKS, REPORTED = 5, (0, 2, 4)
"""Clicks per mask in a validation, and those whose IoU is reported (counted from 0)."""
BATCH = 128
"""Masks that are validated at a time."""
LIMIT = 112
"""Half of the input's side: no pixel of an error lies deeper."""


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which products are computed in bfloat16."""
    return torch.autocast(device.type, torch.bfloat16)


def forward(model: SimpleClick, image: Tensor, coords: Tensor) -> tuple[Tensor, Tensor]:
    """Run the model like its own forward, but show its features too.

    Args:
        model: without granularity.
        image: (B, 3, I, I) float32 RGB in [0, 1].
        coords: (B, 3, I, I) float32: mask prompt, positive and negative disks.

    Returns:
        Logits, (B, 1, I, I), and features of the transformer, (B, grid * grid, dim).
    """
    features = model.encode(model.embed(image, coords, None))
    logits = model.head(model.neck(features), model.grid)
    return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True), features


@torch.no_grad()
def predict(model: SimpleClick, image: Tensor, coords: Tensor) -> Tensor:
    """Probability of the foreground, (B, 1, I, I) float32; arguments as for ``forward``."""
    with half_precision(image.device):
        logits, _ = forward(model, image, coords)
    return torch.sigmoid(logits.float())


@torch.no_grad()
def validate(model: SimpleClick, card: Card) -> dict[str, list[float]]:
    """Mean IoU of the validation masks after 1, 3 and 5 clicks, each at a deepest pixel of the larger error.

    Images are stretched to the model's input, and masks are compared there.

    Returns:
        Three numbers per validation set that has masks.
    """
    model.eval()
    found = {}
    for name, numbers in card.validation.items():
        parts = [
            _ious(model, card, torch.tensor(numbers[start : start + BATCH], device=card.images.device))
            for start in range(0, len(numbers), BATCH)
        ]
        if parts:
            mean = torch.cat(parts).mean(0).tolist()
            found[name] = [mean[index] for index in REPORTED]
    return found


def _ious(model: SimpleClick, card: Card, numbers: Tensor) -> Tensor:
    """IoU of masks after every click, (B, CLICKS)."""
    size = (model.input_size, model.input_size)
    image = _resized(card.images[card.owner[numbers]], size) / 255
    target = _resized(card.unpack(card.packed[numbers]), size)[:, 0] > 0.5
    points = torch.zeros(len(numbers), 2, *size, device=image.device, dtype=torch.float16)
    probability = torch.zeros(len(numbers), 1, *size, device=image.device)
    ious = []
    for _ in range(CLICKS):
        correct(probability, target, points, deepest=True, limit=LIMIT)
        probability = predict(model, image, torch.cat([probability, disks(points)], 1))
        mask = probability[:, 0] > THRESHOLD
        ious.append((mask & target).sum((1, 2)) / (mask | target).sum((1, 2)).clamp(min=1))
    return torch.stack(ious, 1)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
