"""Recall of annotated parts by AGG's loop: with its random clicks, and with clicks that know the part.

Clicks that know the part show what the click model itself allows: the first click is the centre of the part, every
later one the centre of what does not belong to it. Needs photographs with annotated parts:
``python -m benchmarks.bench_clicks --dataset partimagenet --data parts-mini``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.inference.predictor import Predictor, open_predictor
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.models.model_files import describe_model
from schemas.config import LoopConfig, PredictorConfig
from schemas.crop import MaskCrop, area
from schemas.records import Click, ImageRecord, Loop, ObjectMask, Pixels, Target
from stages.draws import uniforms
from stages.evaluate import counted_iou
from stages.mask_engine import DrawClick, random_click, simulate
from stages.morphology import cut, minus
from stages.next_click import next_click

LEVELS = (0.5, 0.75)
"""Smallest IoU at which a part counts as covered."""
MIN_SHARES = (0.0, 0.1)
"""Smallest parts that are counted, as a share of their object."""
BATCH = 8
"""Parts per batch, with clicks that know the part."""

Mask = NDArray[np.bool_]
"""(H, W) bool."""


@dataclass(frozen=True)
class Loops:
    """How the loops are run.

    Attributes:
        model: click model.
        config: configuration of the loop.
        iterations: N of every loop.
        count: loops per object with random clicks.
        dataset: name of the data set, part of the random numbers' key.
        seed: seed of the first loop; the next ones count on.
    """

    model: Predictor
    config: LoopConfig
    iterations: int
    count: int
    dataset: str
    seed: int


def clicks_that_know(parts: Sequence[Mask], targets: Sequence[Target]) -> DrawClick:
    """A click simulator that knows which part each target stands for.

    Args:
        parts: (H, W) bool masks.
        targets: one target per part; a target may not appear twice.
    """
    part_of = {id(target): part for target, part in zip(targets, parts, strict=True)}

    def draw(target: Target, pixels: Pixels, step: int, mask: MaskCrop, clicks: tuple[Click, ...]) -> Click | None:  # noqa: ARG001
        part = part_of[id(target)]
        region = mask.full() & ~part if clicks else part
        if not region.any():
            return None
        found = next_click(np.zeros_like(region), region, None, clicks)
        return Click(found.row, found.col, not clicks)

    return draw


def masks_of(loop: Loop) -> list[Mask]:
    """The proposals of a loop: each mask inside its object, and the rest of the object."""
    object_mask = loop.target.object.mask
    masks = []
    for candidate in loop.candidates:
        inside = cut(candidate.mask, object_mask)
        masks += [inside.full(), minus(object_mask, inside).full()]
    return masks


def best_iou(part: Mask, masks: Sequence[Mask]) -> float:
    """The largest IoU of a part with any mask."""
    return max((counted_iou(mask, part, None) for mask in masks), default=0.0)


def random_masks(record: ImageRecord, owner: ObjectMask, loops: Loops) -> list[list[Mask]]:
    """The proposals of an object with random clicks, per loop."""
    target, masks = Target(record.summary, owner), []
    for turn in range(loops.count):
        draw = random_click(loops.seed + turn, loops.dataset, loops.config)
        (loop,) = simulate([target], [record.pixels], [loops.iterations], loops.model, loops.config, draw)
        masks.append(masks_of(loop))
    return masks


def guided_masks(record: ImageRecord, owner: ObjectMask, parts: Sequence[Mask], loops: Loops) -> list[list[Mask]]:
    """The proposals of an object with clicks that know a part, per part."""
    masks = []
    for start in range(0, len(parts), BATCH):
        batch = parts[start : start + BATCH]
        targets = [Target(record.summary, owner) for _ in batch]
        draw = clicks_that_know(batch, targets)
        found = simulate(
            targets, [record.pixels] * len(batch), [loops.iterations] * len(batch), loops.model, loops.config, draw
        )
        masks += [masks_of(loop) for loop in found]
    return masks


def measured(record: ImageRecord, owner: ObjectMask, loops: Loops) -> list[tuple[float, ...]]:
    """One row per part of an object.

    Returns:
        (share of the object, best IoU with clicks that know the part, best IoU with 1, 2, ... loops of random clicks).
    """
    parts = [part.mask.full() for part in owner.parts]
    random = random_masks(record, owner, loops)
    rows = []
    for part, guided in zip(parts, guided_masks(record, owner, parts, loops), strict=True):
        by_loop = np.maximum.accumulate([best_iou(part, masks) for masks in random])
        rows.append((part.sum() / area(owner.mask), best_iou(part, guided), *by_loop))
    return rows


@click.command()
@click.option("--dataset", default="partimagenet", show_default=True, help="Data set with annotated parts.")
@click.option("--data", required=True, help="Root folder of the data set.")
@click.option("--checkpoint", default=str(default_checkpoint()), help="Click model. Default: the built-in model.")
@click.option("--people", default=60, show_default=True, help="Images to draw.")
@click.option("--iterations", default=6, show_default=True, help="Iterations after Y_0 in every loop.")
@click.option("--loops", default=4, show_default=True, help="Loops per object with random clicks.")
@click.option(
    "--contrast",
    default=LoopConfig().contrast,
    show_default=True,
    help="Pixels to draw per random negative click; the one of the most different colour is taken.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the images and of the clicks.")
def main(
    dataset: str, data: str, checkpoint: str, people: int, iterations: int, loops: int, contrast: int, seed: int
) -> None:
    """Print the share of the parts that are covered: of all parts, and of those of a tenth of their object or more."""
    listed = open_dataset(dataset, data, known_dataset(dataset).default_split)
    order = uniforms(seed, dataset, "", 0, "bench-clicks", 0, len(listed.entries)).argsort(kind="stable")
    model = open_predictor(describe_model(checkpoint, "", None)[0], PredictorConfig())
    settings = Loops(model, LoopConfig(contrast=contrast), iterations, loops, dataset, seed)
    rows = []
    for number in order[:people]:
        record = listed.read(listed.entries[int(number)])
        for owner in record.objects:
            if owner.parts:
                rows += measured(record, owner, settings)
    table = np.array(rows)
    names = ["clicks that know the part", *(f"random clicks, {turn + 1} loop(s)" for turn in range(loops))]
    for share in MIN_SHARES:
        ious = table[table[:, 0] >= share][:, 1:]
        print(f"{len(ious)} parts of at least {share:.0%} of their object: IoU >= {LEVELS[0]}, IoU >= {LEVELS[1]}")
        for name, column in zip(names, ious.T, strict=True):
            print(f"  {name:28} {'  '.join(f'{(column >= level).mean():.3f}' for level in LEVELS)}")


if __name__ == "__main__":
    main()
