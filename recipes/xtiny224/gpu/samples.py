"""Training samples, made on the card: objects pasted on each other's images, a random cut, colours and first clicks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.xtiny224.gpu.card import Card
from recipes.xtiny224.gpu.clicks import first_clicks
from recipes.xtiny224.gpu.draws import Draws, per_sample, pick

INPUT = 224
"""Side of the network's input, in pixels."""
PASTED, FIRST_PASTED, MORE_PASTED = 4, 0.5, 0.4
"""Most objects pasted on an image, probability of the first, and of each further one where there is a first."""
LARGEST, SMALLEST = 1.0, 0.15
"""Size of a pasted object beside the largest that fits on the image."""
NEARBY = 0.5
"""Probability that an object is pasted over another object."""
VISIBLE, VISIBLE_SHARE = 60, 0.25
"""An object can be the one to find if this many pixels, and this share of it, are left uncovered."""
WHOLE = 0.55
"""Probability that the whole image is taken instead of a box around the object."""
BOX, NARROWEST, THINNEST = (1.05, 2.5), 56, 8
"""Size of that box beside the object's; its smallest side, and its smallest side within the image, in pixels."""
OFF_CENTRE, SHIFT = 0.2, 0.03
"""Offset of the box, and shift of the cut after it, as shares of the box."""
TURNED, TURN = 0.75, math.radians(10)
"""Probability and largest angle of a rotation."""
FEWEST = 20
"""A target of fewer pixels of the input counts as empty: the sample asks for an empty mask."""
RECOLOURED = 0.75
"""Probability of each change of colours."""
CONTRAST, BRIGHTNESS, TINT = (-0.15, 0.40), 0.25 * 255, 10.0
"""Change of contrast (relative), of brightness, and of each channel (both of 255)."""
GREY = 0.1
"""Probability of a grey image."""


@dataclass(frozen=True)
class Samples:
    """A batch; I is the side of the network's input.

    Attributes:
        image: (B, 3, I, I) float32 RGB in [0, 1].
        target: (B, I, I) bool; may be empty.
        prompt: (B, 1, I, I) float32, the mask prompt: all objects where clicks have to part them, else 0.
        points: (B, 2, I, I) float16, 1 on the pixels of the positive and of the negative clicks.
    """

    image: Tensor
    target: Tensor
    prompt: Tensor
    points: Tensor


@dataclass(frozen=True)
class Scene:
    """Images with pasted objects.

    Attributes:
        pixels: (B, 3, S, S) float32, RGB from 0 to 255.
        objects: (B, K, S, S) bool, visible pixels of the drawn object and of the pasted ones, which may be empty.
        whole: (B, K) int64, their pixels when nothing covered them.
        rest: (B, 1, S, S) bool, visible pixels of all other objects.
    """

    pixels: Tensor
    objects: Tensor
    whole: Tensor
    rest: Tensor


@torch.no_grad()
def make_samples(card: Card, count: int) -> Samples:
    """Draw a batch.

    Args:
        card: photographs and masks.
        count: B, samples to draw.
    """
    draws = Draws(count, card.images.device)
    scene = compose(card, draws)
    mask, others = choose(scene, draws)
    grid = sampling_grid(random_cut(mask, draws), INPUT, card.side)
    image = F.grid_sample(scene.pixels, grid, align_corners=False)
    both = F.grid_sample(torch.cat([mask, others], 1).float(), grid, mode="nearest", align_corners=False) > 0.5
    target, others = both[:, 0], both[:, 1]
    target &= (target.sum((1, 2)) >= FEWEST).view(-1, 1, 1)
    image = recolour(image, draws) / 255
    prompt, points = first_clicks(target, others, draws)
    return Samples(image, target, prompt, points)


def compose(card: Card, draws: Draws) -> Scene:
    """Draw masks with their images, and paste up to four objects on half of the images."""
    number = torch.multinomial(card.weights, draws.count, replacement=True)
    image = card.owner[number]
    single = ~card.nested[image]
    pixels = card.images[image].float()
    objects = card.unpack(card.packed[number])
    rest = card.unpack(card.union[image]) & ~objects & per_sample(single)
    whole = [objects.sum((1, 2, 3))]
    pasted = single
    for turn in range(PASTED):
        chosen = draws.chance(MORE_PASTED if turn else FIRST_PASTED) & pasted
        if turn == 0:
            pasted = chosen
        pixels, objects = paste(card, pixels, objects, chosen, draws)
        rest &= ~objects[:, -1:]
        whole.append(objects[:, -1].sum((1, 2)))
    return Scene(pixels, objects, torch.stack(whole, 1), rest)


def paste(card: Card, pixels: Tensor, objects: Tensor, chosen: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Paste a random object on every chosen image.

    Args:
        card: where the objects come from.
        pixels: (B, 3, S, S) float32.
        objects: (B, K, S, S) bool, masks of the objects so far.
        chosen: (B,) bool; on the other images the object is invisible.
        draws: of the batch.

    Returns:
        The images, (B, 3, S, S), and visible pixels of the objects with the new one, (B, K + 1, S, S).
    """
    side = card.side
    donor = torch.multinomial(card.donors, draws.count, replacement=True)
    mask = card.unpack(card.packed[donor])
    top, bottom, left, right = tight_boxes(mask)
    largest = torch.minimum(side / (bottom - top + 1), side / (right - left + 1))
    scale = largest * torch.exp(draws.uniform() * math.log(LARGEST / SMALLEST) + math.log(SMALLEST))
    nearby, present = pick(objects[:, int(torch.randint(objects.shape[1], ()))])
    anywhere = torch.randint(side * side, (draws.count,), device=draws.device)
    centre = torch.where(draws.chance(NEARBY) & present, nearby, anywhere)
    row, col = (centre // side).float(), (centre % side).float()
    down, across = 1 / scale, draws.sign() / scale
    zero = torch.zeros_like(scale)
    theta = affine(across, zero, (left + right) / 2 - across * col, zero, down, (top + bottom) / 2 - down * row)
    grid = sampling_grid(theta, side, side)
    share = F.grid_sample(mask.float(), grid, align_corners=False) * per_sample(chosen.float())
    put = F.grid_sample(card.images[card.owner[donor]].float(), grid, align_corners=False, padding_mode="border")
    covered = share > 0.5
    return pixels + share * (put - pixels), torch.cat([objects & ~covered, covered], 1)


def choose(scene: Scene, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw which object is to be found: the drawn or a pasted one, if enough of it is visible.

    Returns:
        Its mask and all other objects, (B, 1, S, S) bool.
    """
    visible, whole = scene.objects.sum((2, 3)).float(), scene.whole.float()
    enough = (visible >= VISIBLE) & (visible >= VISIBLE_SHARE * whole)
    score = torch.rand(enough.shape, device=draws.device) * enough
    # If not enough is visible of any, the drawn one is taken.
    score[:, 0] += 1e-6 * (visible[:, 0] > 0)
    mask = scene.objects[torch.arange(draws.count, device=draws.device), score.argmax(1)][:, None]
    return mask, (scene.rest | scene.objects.any(1, keepdim=True)) & ~mask


def random_cut(mask: Tensor, draws: Draws) -> Tensor:
    """Draw a box around the object or the whole image, mirrored, turned and shifted.

    Args:
        mask: (B, 1, S, S) bool.
        draws: of the batch.

    Returns:
        (B, 2, 3), from pixels of the network's input to pixels of the image.
    """
    side = mask.shape[2]
    top, bottom, left, right = tight_boxes(mask)
    grown = BOX[0] + draws.uniform() * (BOX[1] - BOX[0])
    height = (grown * (bottom - top + 1)).clamp(min=NARROWEST)
    width = (grown * (right - left + 1)).clamp(min=NARROWEST)
    row = (top + bottom) / 2 + draws.spread() * OFF_CENTRE * height
    col = (left + right) / 2 + draws.spread() * OFF_CENTRE * width
    top, bottom = (row - height / 2).clamp(0, side - THINNEST), (row + height / 2).clamp(max=side)
    left, right = (col - width / 2).clamp(0, side - THINNEST), (col + width / 2).clamp(max=side)
    bottom, right = torch.maximum(bottom, top + THINNEST), torch.maximum(right, left + THINNEST)
    whole = draws.chance(WHOLE)
    top, left = torch.where(whole, 0.0, top), torch.where(whole, 0.0, left)
    bottom, right = torch.where(whole, float(side), bottom), torch.where(whole, float(side), right)
    mirror = draws.sign()
    turn = torch.where(draws.chance(TURNED), draws.spread() * TURN, 0.0)
    across, down = (right - left) / INPUT * mirror, (bottom - top) / INPUT
    cos, sin, middle = turn.cos(), turn.sin(), (INPUT - 1) / 2
    x = (left + right - 1) / 2 + draws.spread() * SHIFT * (right - left)
    y = (top + bottom - 1) / 2 + draws.spread() * SHIFT * (bottom - top)
    a, b, c, d = across * cos, -across * sin, down * sin, down * cos
    return affine(a, b, x - (a + b) * middle, c, d, y - (c + d) * middle)


def recolour(image: Tensor, draws: Draws) -> Tensor:
    """Change contrast, brightness and channels of images (B, 3, H, W) from 0 to 255; some become grey."""
    reach = CONTRAST[1] - CONTRAST[0]
    contrast = 1 + torch.where(draws.chance(RECOLOURED), draws.uniform() * reach + CONTRAST[0], 0.0)
    brightness = torch.where(draws.chance(RECOLOURED), draws.spread() * BRIGHTNESS, 0.0)
    image = (image * per_sample(contrast) + per_sample(brightness)).clamp(0, 255)
    tint = (torch.rand(draws.count, 3, device=draws.device) * 2 - 1).view(-1, 3, 1, 1) * TINT
    image = (image + tint * per_sample(draws.chance(RECOLOURED))).clamp(0, 255)
    return torch.where(per_sample(draws.chance(GREY)), image.mean(1, keepdim=True).expand_as(image), image)


def tight_boxes(masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """First and last row, first and last column of masks (B, 1, S, S) bool; each (B,) float32."""
    rows, cols = masks.any(3)[:, 0].float(), masks.any(2)[:, 0].float()
    last = masks.shape[2] - 1
    return (
        rows.argmax(1).float(),
        last - rows.flip(1).argmax(1).float(),
        cols.argmax(1).float(),
        last - cols.flip(1).argmax(1).float(),
    )


def affine(*entries: Tensor) -> Tensor:
    """Matrices (B, 2, 3) of six entries (B,), row by row."""
    return torch.stack(entries, 1).view(-1, 2, 3)


def sampling_grid(theta: Tensor, size: int, side: int) -> Tensor:
    """Where ``grid_sample`` reads for every pixel of its output.

    Args:
        theta: (B, 2, 3), from (x, y, 1) in pixels of the output to (x, y) in pixels of the source.
        size: side of the output.
        side: side of the source.

    Returns:
        (B, size, size, 2), from -1 to 1, for ``align_corners=False``.
    """
    line = torch.arange(size, device=theta.device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3)
    return ((pixels @ theta.transpose(1, 2)).view(len(theta), size, size, 2) + 0.5) * (2 / side) - 1
