"""A valid proposal database of any size, made without images and without a model.

Its masks come from a pool of random blobs, so that a million of them are written in minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.proposal_rows import write_proposals
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.shard_files import PLAN, publish
from agg_pipeline.storage.rle import encode
from agg_pipeline.storage.store import Store
from schemas.canonical import Json, Row
from schemas.config import GranularityConfig
from schemas.crop import MaskCrop, area, crop_mask
from schemas.numbers import BINS, granularity_bin
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord
from schemas.tables import FILES, PROPOSALS
from stages.granularity import combine

HEIGHT, WIDTH = 375, 500
"""Size of the images, pixels."""
OBJECTS = 3
"""Objects of an image."""
POOL = 2000
"""Most objects in the pool. A shard has about a hundred of them, so few masks repeat in a file."""
CORNERS = 48
"""Corners of a blob."""
ABOUT = About("synthetic", "Synthetic", ("object",), "a licence", "a citation", "a page", (), "")
MODEL = {"architecture": "xtiny", "input_size": 224, "sha256": "0" * 64}


def write_database(folder: str, masks: int, images: int) -> None:
    """Write a valid database.

    Args:
        folder: its folder.
        masks: number of masks, spread evenly over the objects of the images.
        images: number of images.
    """
    config = PRESETS["paper"]
    entries = tuple(ImageEntry(f"im_{n:08d}", f"img/im_{n:08d}.jpg", 1, None) for n in range(images))
    dataset = Dataset(ABOUT, "train", entries, "f" * 32, _never_read)
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, {"device": "cpu", "torch": "0"}, config)
    store, stamp = Store(folder), stamp_of(DATABASE_LAYOUT, plan)
    store.write_json(PLAN, plan)
    objects = images * OBJECTS
    counts = masks // objects + (np.arange(objects) < masks % objects)
    pool = _pool(min(POOL, objects), int(counts.max()), config.granularity)
    rng = np.random.default_rng(1)
    found: dict[int, Json] = {}
    for index, ids in enumerate(plan["shards"]):
        first = index * config.batch.images_per_shard * OBJECTS
        rows = _proposals(ids, counts[first : first + len(ids) * OBJECTS], pool, rng)
        tables = {"proposals": rows, "images": _images(ids), "rejects": FILES["rejects"].empty_table()}
        found[index] = write_proposals(store, index, len(ids), stamp, tables)
        publish(store, found[index])
    finish(store, plan, found)


def _never_read(entry: ImageEntry) -> ImageRecord:
    raise AssertionError(f"{entry.path} does not exist")


def _images(ids: Sequence[str]) -> pa.Table:
    same = {"height": HEIGHT, "width": WIDTH, "licence": "none", "source": 0}
    rows = [same | {"image_id": image, "path": f"img/{image}.jpg", "sha256": f"{int(image[3:]):064x}"} for image in ids]
    return pa.Table.from_pylist(rows, FILES["images"])


def _proposals(
    ids: Sequence[str], counts: NDArray[np.int64], pool: Sequence[pa.Table], rng: np.random.Generator
) -> pa.Table:
    """The rows of a shard: for each object of its images the first rows of one of the pool."""
    chosen = rng.integers(len(pool), size=len(counts))
    table = pa.concat_tables([pool[number].slice(0, count) for number, count in zip(chosen, counts, strict=True)])
    images = [ids[owner // OBJECTS] for owner in np.repeat(np.arange(len(counts)), counts).tolist()]
    instances = np.repeat(np.arange(len(counts)) % OBJECTS + 1, counts)
    names = [f"{image}:{instance}" for image, instance in zip(images, instances, strict=True)]
    columns = {
        "proposal_id": [f"{name}:{end}" for name, end in zip(names, table["proposal_id"].to_pylist(), strict=True)],
        "image_id": images,
        "instance_id": instances,
        "parent_id": [end and f"{name}:{end}" for name, end in zip(names, table["parent_id"].to_pylist(), strict=True)],
    }
    for name, values in columns.items():
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(place, field, pa.array(values, field.type))
    return table


def _pool(objects: int, masks: int, config: GranularityConfig) -> list[pa.Table]:
    """The rows of objects with their proposals, whose ids lack image and object."""
    rng = np.random.default_rng(0)
    return [pa.Table.from_pylist(list(_object_rows(rng, masks, config)), PROPOSALS) for _ in range(objects)]


def _object_rows(rng: np.random.Generator, masks: int, config: GranularityConfig) -> Iterator[Row]:
    middle, radius = np.array([HEIGHT, WIDTH]) / 2, rng.uniform(60, 160)
    whole = _blob(rng, middle + rng.uniform(-40, 40, 2), radius)
    rows, cols = np.nonzero(whole)
    size = len(rows)
    yield _row(whole, "object", 0) | {"scale": 1.0, "semantic": 1.0, "granularity": 1.0, "bin": BINS}
    for number in range(1, masks):
        step = number // 2
        if number % 2:
            # The proposals of an object are parts and their complements, in turns.
            place = rng.integers(size)
            part = whole & _blob(rng, np.array([rows[place], cols[place]]), radius * rng.uniform(0.3, 0.8))
        mask, kind = (part, "part") if number % 2 else (whole & ~part, "complement")
        if not mask.any():
            mask = whole
        row = _row(mask, kind, step)
        peak, peak_object = rng.uniform(0.2, 0.6, 2).astype(np.float32).tolist()
        scale, semantic, granularity = combine(row["area"] / size, peak, peak_object, config)
        click = {"row": int(rows[0]), "col": int(cols[0])}
        yield row | {
            "parent_id": "object:0",
            "step": step,
            "scale": scale,
            "peak_proposal": peak,
            "peak_object": peak_object,
            "semantic": semantic,
            "granularity": granularity,
            "bin": granularity_bin(granularity),
            "click": click,
            "clicks": [{**click, "positive": not taken} for taken in range(step + 1)],
        }


def _row(mask: NDArray[np.bool_], kind: str, step: int) -> Row:
    crop: MaskCrop = crop_mask(mask, HEIGHT, WIDTH)
    box = crop.box
    return {
        "proposal_id": f"{kind}:{step}",
        "image_id": "",
        "instance_id": 0,
        "category": "blob",
        "kind": kind,
        "height": HEIGHT,
        "width": WIDTH,
        "rle": encode(crop),
        "area": area(crop),
        "bbox": {"x": box.left, "y": box.top, "w": box.width, "h": box.height},
        "source": 0,
    }


def _blob(rng: np.random.Generator, middle: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """A round shape with a wavy outline, (HEIGHT, WIDTH) bool; it has the pixel in its middle.

    Args:
        rng: source of the waves.
        middle: row and column.
        radius: its mean radius, pixels.
    """
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    waves = sum(rng.normal(0, 0.15 / n) * np.cos(n * angles + rng.uniform(0, 2 * np.pi)) for n in range(2, 9))
    distance = radius * (1 + waves)
    points = np.stack([middle[1] + distance * np.cos(angles), middle[0] + distance * np.sin(angles)], axis=1)
    frame = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(frame, [np.round(points).astype(np.int32)], 1)
    return frame.view(np.bool_)
