"""Clicks of a batch, as maps on the card: the first ones, corrections, and their disks.

The rules are those of ``stages.finetune``, with fewer first clicks and an octagonal distance instead of OpenCV's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from agg_pipeline.models.simpleclick import CLICK_RADIUS
from recipes.xtiny224.gpu.draws import Draws, pick
from stages.finetune import BACKGROUND, BORDER, ERODED, EROSIONS, MIN_ERODED, OTHERS, THRESHOLD

PARTED = 0.5
"""Probability, where there are other objects, that the mask prompt holds all of them and clicks part them."""
MORE = 3
"""Most clicks of a sign beyond those that a sample must have; each further one is half as likely."""
WIDEST = 16
"""Largest width of the border around a mask, in pixels."""
DEEPEST = 48
"""Largest distance to the outside of an error that is told apart, in pixels."""


def first_clicks(target: Tensor, others: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw the first clicks of every sample: positive ones in the target, negative ones outside of it.

    Args:
        target: (B, H, W) bool; if it is empty, all clicks are negative.
        others: (B, H, W) bool, the other objects.
        draws: of the batch.

    Returns:
        The mask prompt, (B, 1, H, W) float32, and the clicks, (B, 2, H, W) float16.
    """
    inside = _inside(target, draws)
    border = _border(target)
    parted = draws.chance(PARTED) & others.any(2).any(1) & target.any(2).any(1)
    points = torch.zeros(len(target), 2, *target.shape[1:], device=target.device, dtype=torch.float16)
    positive, negative = 1 + _further(draws), _further(draws) + parted.float()
    for turn in range(MORE + 1):
        _put(points, 0, *pick(inside), turn < positive)
        region = _outside(target, others, border, parted, draws)
        _put(points, 1, *pick(region), turn < negative)
    prompt = ((target | others) & parted.view(-1, 1, 1)).float()[:, None]
    return prompt, points


def _further(draws: Draws) -> Tensor:
    """Numbers from 0 to MORE, each half as likely as the one before, (B,)."""
    return torch.log2(1 / (draws.uniform() + 1e-6)).floor().clamp(max=MORE)


def _inside(target: Tensor, draws: Draws) -> Tensor:
    """Where positive clicks are drawn from: usually the eroded mask, if it is large enough."""
    outside = 1 - F.pad(target[:, None].half(), (EROSIONS,) * 4)
    eroded = (1 - F.max_pool2d(outside, 2 * EROSIONS + 1, 1, 0))[:, 0] > 0
    enough = eroded.sum((1, 2)) > MIN_ERODED
    return torch.where((enough & draws.chance(ERODED)).view(-1, 1, 1), eroded, target)


def _border(target: Tensor) -> Tensor:
    """A border around the target, of a width that goes with the root of its area."""
    width = (BORDER * target.sum((1, 2)).float().sqrt()).ceil()
    grown, near = target[:, None].half(), torch.zeros_like(target)
    for step in range(1, WIDEST + 1):
        grown = F.max_pool2d(grown, 3, 1, 1)
        near = torch.where((width >= step).view(-1, 1, 1), grown[:, 0] > 0, near)
    return near & ~target


def _outside(target: Tensor, others: Tensor, border: Tensor, parted: Tensor, draws: Draws) -> Tensor:
    """Where the next negative click is drawn from: background, other objects or the border."""
    kind = draws.uniform()
    background = ~(target | others)
    anywhere, elsewhere = (kind < BACKGROUND).view(-1, 1, 1), (kind < BACKGROUND + OTHERS).view(-1, 1, 1)
    elsewhere_or_background = torch.where(others.any(2).any(1).view(-1, 1, 1), others, background)
    usual = torch.where(anywhere, background, torch.where(elsewhere, elsewhere_or_background, border))
    usual = torch.where(target.any(2).any(1).view(-1, 1, 1), usual, background)
    return torch.where(parted.view(-1, 1, 1), others, usual)


def _put(points: Tensor, channel: int, pixel: Tensor, found: Tensor, wanted: Tensor) -> None:
    """Put a click on the maps of the samples that want one, in place."""
    flat = points.view(len(points), 2, -1)
    sample = torch.arange(len(points), device=points.device)
    flat[sample, channel, pixel] = torch.maximum(flat[sample, channel, pixel], (found & wanted).to(points.dtype))


def disks(points: Tensor) -> Tensor:
    """Clicks (B, 2, H, W) as disks, float32: what ``draw_disks`` draws for clicks on whole pixels."""
    line = torch.arange(-CLICK_RADIUS, CLICK_RADIUS + 1, device=points.device)
    disk = (line[:, None] ** 2 + line**2 <= CLICK_RADIUS**2).repeat(2, 1, 1, 1)
    # Half precision is faster on a card, and holds the counts of clicks exactly.
    kind = torch.float16 if points.is_cuda else torch.float32
    return (F.conv2d(points.to(kind), disk.to(kind), padding=CLICK_RADIUS, groups=2) > 0.5).float()


def depth(errors: Tensor, limit: int = DEEPEST) -> Tensor:
    """Distance of every pixel to the outside of its region; beyond the image is outside.

    Balls of this distance are octagons: a cross and a square take off a pixel in turn.

    Args:
        errors: (B, C, H, W) bool.
        limit: largest distance minus 1, in pixels.

    Returns:
        (B, C, H, W), 0 outside.
    """
    left = F.pad(errors.half() if errors.is_cuda else errors.float(), (1, 1, 1, 1))
    total = left.clone()
    for turn in range(limit):
        outside = 1 - left
        if turn % 2:
            grown = F.max_pool2d(outside, 3, 1, 1)
        else:
            upright, level = F.max_pool2d(outside, (3, 1), 1, (1, 0)), F.max_pool2d(outside, (1, 3), 1, (0, 1))
            grown = torch.maximum(upright, level)
        left = 1 - grown
        # Pooling takes nothing from beyond the frame, which is outside.
        left[:, :, 0] = left[:, :, -1] = left[:, :, :, 0] = left[:, :, :, -1] = 0
        total += left
    return total[:, :, 1:-1, 1:-1]


@torch.no_grad()
def correct(probability: Tensor, target: Tensor, points: Tensor, deepest: bool = False, limit: int = DEEPEST) -> None:
    """Add a click that corrects the prediction to every sample that has an error, in place.

    Missing and surplus pixels are compared by their largest depth. The click is uniform over the pixels of more than
    half that depth.

    Args:
        probability: (B, 1, H, W), the prediction.
        target: (B, H, W) bool.
        points: (B, 2, H, W) float16, clicks so far.
        deepest: whether to draw among the deepest pixels only, as an evaluation clicks.
        limit: of ``depth``.
    """
    predicted = probability[:, 0] > THRESHOLD
    depths = depth(torch.stack([target & ~predicted, ~target & predicted], 1), limit)
    largest = depths.flatten(2).amax(2)
    missing, surplus = largest.unbind(1)
    toss = torch.rand(len(target), device=target.device) < 0.5
    channel = (~torch.where(missing == surplus, toss, missing > surplus)).long()
    sample = torch.arange(len(target), device=target.device)
    own, top = depths[sample, channel], largest[sample, channel].view(-1, 1, 1)
    inner = (own >= top if deepest else own > top / 2) & (own > 0)
    pixel, found = pick(inner)
    flat = points.view(len(points), 2, -1)
    flat[sample, channel, pixel] = torch.maximum(flat[sample, channel, pixel], found.to(points.dtype))
