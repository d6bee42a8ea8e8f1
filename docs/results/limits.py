"""What keeps parts from being reached (docs/results/findings.md).

``.venv-dev/bin/python docs/results/limits.py --help``; ``make setup-dev`` makes this environment, which has pandas.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from agg_pipeline.inference.region_of_interest import EXPANSION, MIN_SIDE
from agg_pipeline.storage.rle import decode
from schemas.crop import tight_box

TARGET, LIMIT, GRID = 0.85, 20, 56


@click.group()
def main() -> None:
    """Look at results, or make a set at another size."""


@main.command()
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("fine_tuned", type=click.Path(path_type=Path))
def reach(base: Path, fine_tuned: Path) -> None:
    """Parts that neither of two results reaches, and the clicks to the others."""
    both = [_parts(base), _parts(fine_tuned)]
    targets = pd.read_parquet(base / "targets.parquet").set_index("target_id").loc[both[0].index]
    masks = [decode(row.rle, row.height, row.width) for row in targets.itertuples()]
    neither = (both[0].clicks > LIMIT) & (both[1].clicks > LIMIT)
    pieces = np.array([cv2.connectedComponents(mask.view(np.uint8))[0] - 1 for mask in masks])
    kept = np.array([_kept(mask) for mask in masks])
    print(f"{len(masks)} parts, {neither.sum()} are reached by neither")
    for name, part in zip(("base", "fine-tuned"), both, strict=True):
        clicks = part.clicks.clip(upper=LIMIT)
        print(f"{name}: NoC@85 {clicks.mean():.2f}, of the others {clicks[~neither].mean():.2f};", end=" ")
        print(
            f"not reached {(part.clicks > LIMIT).sum()}, best IoU of those of neither {part.best[neither].mean():.2f}"
        )
    print(
        f"three pieces or more: {(pieces >= 3)[neither].sum()} of these, {(pieces >= 3)[~neither].sum()} of the others"
    )
    print(f"IoU with itself on the grid below {TARGET}: {(kept < TARGET)[neither].sum()} of these")
    print(pd.DataFrame({"parts": 1, "neither": neither}).groupby(both[0].label).sum().to_string())


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("factor", type=int)
def scale(source: Path, out: Path, factor: int) -> None:
    """Enlarge the split val of a set in PartImageNet's layout: images bicubic, masks nearest."""
    ways = {"images": Image.Resampling.BICUBIC, "annotations": Image.Resampling.NEAREST}
    for folder, how in ways.items():
        (out / folder / "val").mkdir(parents=True)
        for path in sorted((source / folder / "val").iterdir()):
            image = Image.open(path, formats=("JPEG", "PNG"))
            # The quality is that of JPEG; PNG has none.
            resized = image.resize((factor * image.width, factor * image.height), how)
            resized.save(out / folder / "val" / path.name, **({"quality": 95} if path.suffix == ".jpg" else {}))
    shutil.copy(source / "class_names.json", out)


def _parts(results: Path) -> pd.DataFrame:
    """Of each part: its class, the click that reaches the target (above the limit for none), the best IoU."""
    rows = pd.read_parquet(results / "objects.parquet")
    rows = rows[(rows.level == "part") & rows.chosen]
    rows = rows.assign(clicks=rows.click.where(rows.iou >= TARGET, LIMIT + 1))
    return rows.groupby("target_id").agg(label=("label", "first"), clicks=("clicks", "min"), best=("iou", "max"))


def _kept(mask: NDArray[np.bool_]) -> float:
    """IoU of a mask with itself after the grid of the model's output, in the region that the predictor looks at."""
    box = tight_box(mask)
    assert box is not None
    cut = []
    for first, size, whole in ((box.top, box.height, mask.shape[0]), (box.left, box.width, mask.shape[1])):
        half = max(EXPANSION * size, MIN_SIDE) / 2
        centre = first + (size - 1) / 2
        cut.append(slice(max(0, round(centre - half)), min(whole, round(centre + half) + 1)))
    seen = mask[tuple(cut)]
    small = cv2.resize(seen.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    again = cv2.resize(small, seen.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    return float((again & seen).sum() / (again | seen).sum())


if __name__ == "__main__":
    main()
