"""How much of the annotated parts AGG's loop meets with its random clicks, and with clicks that know the part.

The second is what the click model itself allows: the first click in the middle of a part, each further one in the
middle of what does not belong to it. Needs photographs with parts:
``python -m benchmarks.bench_clicks --dataset partimagenet --data parts-mini``.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.inference.predictor import open_predictor
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.models.model_files import describe_model
from schemas.config import LoopConfig, PredictorConfig
from schemas.crop import MaskCrop
from schemas.records import Click, Loop, Target
from stages.draws import uniforms
from stages.evaluate import counted_iou, next_click
from stages.mask_engine import DrawClick, random_click, simulate
from stages.morphology import cut, minus

LEVELS = (0.5, 0.75)
BATCH = 8


def knowing(parts: Sequence[NDArray[np.bool_]], targets: Sequence[Target]) -> DrawClick:
    """A click simulator that knows the part that each target stands for."""
    part_of = {id(target): part for target, part in zip(targets, parts, strict=True)}

    def draw(target: Target, step: int, mask: MaskCrop, clicks: tuple[Click, ...]) -> Click | None:  # noqa: ARG001
        part = part_of[id(target)]
        region = mask.full() & ~part if clicks else part
        if not region.any():
            return None
        found = next_click(np.zeros_like(region), region, None, clicks)
        return Click(found.row, found.col, not clicks)

    return draw


def masks_of(loop: Loop) -> list[NDArray[np.bool_]]:
    """What a loop proposes: each mask in its object, and the rest of that."""
    whole = loop.target.object.mask
    inside = [cut(candidate.mask, whole) for candidate in loop.candidates]
    return [mask.full() for each in inside for mask in (each, minus(whole, each))]


def best(part: NDArray[np.bool_], masks: Sequence[NDArray[np.bool_]]) -> float:
    """The largest IoU with a part."""
    return max((counted_iou(mask, part, None) for mask in masks), default=0.0)


@click.command()
@click.option("--dataset", default="partimagenet", show_default=True)
@click.option("--data", required=True)
@click.option("--checkpoint", default=str(default_checkpoint()))
@click.option("--people", default=60, show_default=True)
@click.option("--iterations", default=6, show_default=True)
@click.option("--loops", default=4, show_default=True, help="With random clicks, of each object.")
@click.option("--contrast", default=LoopConfig().contrast, show_default=True, help="Of random negative clicks.")
@click.option("--seed", default=0, show_default=True)
def main(
    dataset: str, data: str, checkpoint: str, people: int, iterations: int, loops: int, contrast: int, seed: int
) -> None:
    """Print the share of the parts that are met, of all and of those of a tenth of their object or more."""
    listed = open_dataset(dataset, data, known_dataset(dataset).default_split)
    order = uniforms(seed, dataset, "", 0, "bench-clicks", 0, len(listed.entries)).argsort(kind="stable")
    model = open_predictor(describe_model(checkpoint, "", None)[0], PredictorConfig())
    rows = []
    for number in order[:people]:
        record = listed.read(listed.entries[int(number)])
        for owner in record.objects:
            parts = [part.mask.full() for part in owner.parts]
            if not parts:
                continue
            config = LoopConfig(contrast=contrast)
            one = Target(record, owner)
            random: list[NDArray[np.bool_]] = []
            counts = []
            for turn in range(loops):
                (loop,) = simulate([one], [iterations], model, config, random_click(seed + turn, dataset, config))
                random += masks_of(loop)
                counts.append(len(random))
            targets = [Target(record, owner) for _ in parts]
            guided = []
            for start in range(0, len(parts), BATCH):
                some = slice(start, start + BATCH)
                draw = knowing(parts[some], targets[some])
                guided += simulate(targets[some], [iterations] * len(targets[some]), model, config, draw)
            area = owner.mask.values.sum()
            for part, loop in zip(parts, guided, strict=True):
                found = (best(part, masks_of(loop)), *(best(part, random[:count]) for count in counts))
                rows.append((part.sum() / area, *found))
    table = np.array(rows)
    for least in (0.0, 0.1):
        own = table[table[:, 0] >= least][:, 1:]
        print(f"{len(own)} parts of at least {least:.0%} of their object: IoU >= {LEVELS[0]}, IoU >= {LEVELS[1]}")
        names = ["clicks that know the part", *(f"random clicks, {turn + 1} loop(s)" for turn in range(loops))]
        for name, ious in zip(names, own.T, strict=True):
            print(f"  {name:28} {'  '.join(f'{(ious >= level).mean():.3f}' for level in LEVELS)}")


if __name__ == "__main__":
    main()
