"""Pack photographs and masks into three files: ``python -m recipes.xtiny224.gpu.pack DATA --out pack``.

``images.bin`` holds the images as WebP, one after the other; ``masks.xz`` the masks, eight pixels to a byte;
``index.json`` the rest: the lengths of the images, the image of every mask, data set, id and split of every image.
"""

from __future__ import annotations

import io
import json
import lzma
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agg_pipeline.datasets.registry import open_dataset
from schemas.records import ImageRecord

SIDE = 320
"""Side of the packed images and masks, in pixels; shapes are stretched to a square."""
SMALLEST = 16
"""Smaller masks are left out, in pixels."""
THUMB = 16
"""Side of the thumbnails that photographs are compared by, in pixels."""
SAME = 0.97
"""Two thumbnails that correlate more show the same photograph."""
TRAINING = (("sbd", "sbd-mini", "train"), ("coco", "coco-mini", "train2017"), ("sa1b", "bsds-mini", "all"))
"""Data set, folder and split of the photographs."""
EVALUATION = (("sbd", "sbd-mini", "val"), ("grabcut", "grabcut-mini", None), ("pascal_part", "pascal-part-mini", "val"))
"""Photographs that must not be trained on."""
SCENES, SCENE_QUALITY = (64, 664), 70
"""First and last but one of the generated scenes, and their WebP quality."""
VAL_FIRST, VAL_STEP, VAL_LAST = 11, 24, 8
"""Own validation split: of sbd-mini the photographs 11, 35, 59, ... per collection, of coco-mini the last 8."""


class Packing:
    """Images and masks that were added so far."""

    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.index: list[dict[str, Any]] = []
        self.masks: list[NDArray[np.uint8]] = []
        self.owner: list[int] = []

    def add(self, name: str, record: ImageRecord, quality: int) -> None:
        """Add an image with its masks.

        Args:
            name: its data set's folder, or ``demo``.
            record: the image.
            quality: of WebP, 0 to 100.
        """
        pixels = cv2.resize(record.pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "WEBP", quality=quality, method=4)
        for each in record.objects:
            share = cv2.resize(each.mask.full().astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            mask = share >= 0.5
            if mask.sum() >= SMALLEST:
                self.masks.append(np.packbits(mask))
                self.owner.append(len(self.images))
        self.images.append(file.getvalue())
        self.index.append({"set": name, "id": record.image_id})

    def write(self, folder: Path, dropped: Sequence[tuple[str, str, float]] = ()) -> None:
        """Draw the validation split and write the three files.

        Args:
            folder: made if missing.
            dropped: photographs that were left out: id, id of the evaluation image, correlation.
        """
        chosen = validation(self.index)
        for number, entry in enumerate(self.index):
            entry["val"] = number in chosen
        lengths = [len(file) for file in self.images]
        whole = {"size": SIDE, "lengths": lengths, "owner": self.owner, "index": self.index, "dropped": dropped}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "images.bin").write_bytes(b"".join(self.images))
        (folder / "masks.xz").write_bytes(lzma.compress(np.stack(self.masks).tobytes(), preset=6))
        (folder / "index.json").write_text(json.dumps(whole))

    def __str__(self) -> str:
        size = sum(map(len, self.images)) / 1e6
        return f"{len(self.images)} images, {len(self.masks)} masks, {size:.1f} MB"


def validation(index: Sequence[dict[str, Any]]) -> set[int]:
    """Numbers of the images of the validation split: none of bsds-mini, none of the scenes."""
    collections: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, entry in enumerate(index):
        # The ids of sbd-mini begin with their collection: ccp_0001, ecssd_0001, penn_00001.
        prefix = entry["id"].partition("_")[0] if entry["set"] == "sbd-mini" else ""
        collections[entry["set"], prefix].append(number)
    chosen: set[int] = set()
    for (name, _), numbers in collections.items():
        if name == "sbd-mini":
            chosen |= set(numbers[VAL_FIRST::VAL_STEP])
        if name == "coco-mini":
            chosen |= set(numbers[-VAL_LAST:])
    return chosen


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A grey thumbnail of mean 0 and norm 1, (THUMB * THUMB,); the product of two is their correlation."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return np.asarray((small / (np.linalg.norm(small) + 1e-6)).ravel(), np.float32)


def most_similar(pixels: NDArray[np.uint8], thumbnails: NDArray[np.float32]) -> tuple[int, float]:
    """Number of the thumbnail that is most like an image or its mirror image, and their correlation.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        thumbnails: (N, THUMB * THUMB).
    """
    both = np.stack([thumbnail(pixels), thumbnail(pixels[:, ::-1])])
    correlation = (thumbnails @ both.T).max(axis=1)
    best = int(correlation.argmax())
    return best, float(correlation[best])


def records(data: Path, name: str, folder: str, split: str | None) -> Iterable[ImageRecord]:
    """Read the images of a split, one after the other."""
    listed = open_dataset(name, str(data / folder), split)
    return (listed.read(entry) for entry in listed.entries)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the pack.")
@click.option("--quality", default=78, show_default=True, help="WebP quality of the photographs, 0 to 100.")
def main(data: Path, out: Path, quality: int) -> None:
    """Pack sbd-mini (train), coco-mini and bsds-mini below DATA, and 600 generated scenes.

    Photographs that look like an evaluation image (sbd-mini val, grabcut-mini and pascal-part-mini val, below DATA) are
    left out and printed.
    """
    names, thumbnails = [], []
    for name, folder, split in EVALUATION:
        for record in records(data, name, folder, split):
            names.append(f"{name}:{record.image_id}")
            thumbnails.append(thumbnail(record.pixels))
    forbidden = np.stack(thumbnails)
    packing, dropped = Packing(), []
    for name, folder, split in TRAINING:
        for record in records(data, name, folder, split):
            if not record.objects:
                continue
            best, correlation = most_similar(record.pixels, forbidden)
            if correlation > SAME:
                dropped.append((record.image_id, names[best], correlation))
                print(
                    f"left out: {record.image_id} looks like {names[best]}, correlation {correlation:.5f}", flush=True
                )
            else:
                packing.add(folder, record, quality)
        print(f"with {folder}: {packing}", flush=True)
    scenes = open_dataset("demo", "", "1000")
    for entry in islice(scenes.entries, *SCENES):
        packing.add("demo", scenes.read(entry), SCENE_QUALITY)
    packing.write(out, dropped)
    print(f"with demo: {packing}, {sum(entry['val'] for entry in packing.index)} images for validation")


if __name__ == "__main__":
    main()
