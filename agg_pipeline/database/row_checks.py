"""What is wrong with the rows of a shard: ids, masks, numbers and references."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.impossible_values import impossible_values
from agg_pipeline.database.proposal_rows import proposal_id
from agg_pipeline.database.same_image import SAME_OBJECT
from agg_pipeline.storage.rle import decode_crop
from schemas.canonical import Json
from schemas.config import ProposalsConfig
from schemas.crop import MaskCrop, area, intersection
from schemas.findings import Finding
from schemas.numbers import BINS, granularity_bin
from schemas.resolve import override, validated
from schemas.tables import FORMAT_MINOR, KINDS, REASONS
from schemas.words import plural
from stages.granularity import combine

FURTHER = re.compile(r"(~\d+)*")
"""What follows an id that was taken when databases were merged."""
ROWS = 4096
"""Rows that are checked at a time."""


@dataclass(frozen=True)
class CheckedRun:
    """What has made rows.

    Attributes:
        config: its configuration.
        imported: whether it was another program, which need not give peaks and clicks.
    """

    config: ProposalsConfig
    imported: bool


def checked_run(source: Json) -> CheckedRun:
    """What has made the rows of a source, by its plan."""
    config: ProposalsConfig = validated(override(ProposalsConfig(), source["config"]))
    return CheckedRun(config, "imported" in source)


def rows_of(table: pa.Table) -> Iterator[Json]:
    """The rows of a table, a part of them at a time: a row takes far more memory than in the table."""
    for batch in table.to_batches(ROWS):
        yield from batch.to_pylist()


def _objects_first(table: pa.Table) -> Iterator[Json]:
    is_object = pc.equal(table["kind"], "object")
    for part in (table.filter(is_object), table.filter(pc.invert(is_object))):
        yield from rows_of(part)


def wrong_rows(
    runs: Sequence[CheckedRun],
    planned: Sequence[str],
    tables: Mapping[str, pa.Table],
    paths: Mapping[str, str],
    seen: set[str],
    minor: int,
) -> Iterator[Finding]:
    """Every inconsistency in the rows of a shard.

    Args:
        runs: the runs that have made them, by their numbers.
        planned: ids of the images of the shard.
        tables: its tables, by name.
        paths: what the findings call the tables.
        seen: all ids of proposals of the shards before; those of this one are added.
        minor: minor version of the database's format; newer ones may have other reasons of rejects.
    """
    for wrong in impossible_values("images", tables["images"], len(runs)):
        yield Finding(paths["images"], wrong)
    images = dict(_sizes(tables["images"]))
    if len(images) < tables["images"].num_rows:
        yield Finding(paths["images"], "has an image twice")
    dropped = set(pc.unique(tables["rejects"]["image_id"]).to_pylist())
    for image in planned:
        if image not in images and image not in dropped:
            yield Finding(paths["images"], f"image {image} of the plan is neither there nor rejected")
    for image in {*images, *dropped} - set(planned):
        yield Finding(paths["images"], f"image {image} is not planned for this shard")
    for image in set(images) - dropped - set(pc.unique(tables["proposals"]["image_id"]).to_pylist()):
        yield Finding(paths["images"], f"image {image} has neither proposals nor rejects")
    if minor <= FORMAT_MINOR:
        unknown = tables["rejects"].filter(pc.invert(pc.is_in(tables["rejects"]["reason"], pa.array(REASONS))))
        for row in rows_of(unknown.select(["reason", "image_id"])):
            yield Finding(paths["rejects"], f"unknown reason {row['reason']!r} for image {row['image_id']}")
    yield from _wrong_proposals(runs, paths["proposals"], tables["proposals"], images, seen)


def _sizes(images: pa.Table) -> Iterator[tuple[str, tuple[int, int]]]:
    """The id, and height and width of every image."""
    for row in rows_of(images.select(["image_id", "height", "width"])):
        yield row["image_id"], (row["height"], row["width"])


def _wrong_proposals(
    runs: Sequence[CheckedRun],
    path: str,
    table: pa.Table,
    images: Mapping[str, tuple[int, int]],
    seen: set[str],
) -> Iterator[Finding]:
    """Every inconsistency in the rows of ``proposals`` of a shard.

    Args:
        runs: the runs that have made them, by their numbers.
        path: path of the table, for the findings.
        table: the rows.
        images: height and width of the images of the shard, by id.
        seen: all ids of the shards before; those of this one are added.
    """
    objects: dict[tuple[str, int], tuple[Json, MaskCrop]] = {}
    ids = set(table["proposal_id"].to_pylist())
    for row in _objects_first(table):
        where = f"{path}: {row['proposal_id']}"
        if row["proposal_id"] in seen:
            yield Finding(where, "the proposal_id is not unique")
        seen.add(row["proposal_id"])
        if row["kind"] not in KINDS:
            yield Finding(where, f"unknown kind {row['kind']!r}")
            continue
        if row["image_id"] not in images:
            yield Finding(where, f"image {row['image_id']} is not in the images of this shard")
            continue
        if (row["height"], row["width"]) != images[row["image_id"]]:
            yield Finding(where, "height and width are not those of the image")
        mask = _mask(row)
        if mask is None:
            yield Finding(where, "the rle does not decode to height x width")
            continue
        yield from (Finding(where, what) for what in _mask_problems(row, mask))
        if row["kind"] == "object":
            objects[row["image_id"], row["instance_id"]] = row, mask
            yield from (Finding(where, what) for what in _object_problems(row))
            continue
        owner = objects.get((row["image_id"], row["instance_id"]))
        if owner is None or row["parent_id"] not in ids:
            yield Finding(where, f"its parent {row['parent_id']} is not in the database")
            continue
        run = runs[row["source"]]
        # Annotated parts are what people drew; those of some sets leave their objects by a few pixels.
        contained = row["kind"] == "complement" or (row["kind"] == "part" and run.config.masks.cut_to_object)
        # In a merged database, the object may be that of another run, which is the same up to a few pixels.
        outside = 0.0 if row["source"] == owner[0]["source"] else (1 / SAME_OBJECT - 1) * owner[0]["area"]
        if contained and not run.imported and intersection(mask, owner[1]) + outside < area(mask):
            yield Finding(where, "the mask has pixels outside its object")
        yield from (Finding(where, what) for what in _part_problems(row, owner[0], run))


def _mask(row: Json) -> MaskCrop | None:
    try:
        return decode_crop(row["rle"], row["height"], row["width"])
    except ValueError:
        return None


def _mask_problems(row: Json, mask: MaskCrop) -> Iterator[str]:
    if area(mask) != row["area"] or row["area"] < 1:
        yield f"area is {row['area']}, the mask has {plural(area(mask), 'pixel')}"
    box = mask.box
    if row["bbox"] != {"x": box.left, "y": box.top, "w": box.width, "h": box.height}:
        yield "bbox is not the tight box of the mask"
    for click in (*(row["clicks"] or ()), *([row["click"]] if row["click"] else ())):
        if not (0 <= click["row"] < row["height"] and 0 <= click["col"] < row["width"]):
            yield f"the click at ({click['row']}, {click['col']}) lies outside of the image"


def _object_problems(row: Json) -> Iterator[str]:
    if row["proposal_id"] != proposal_id(row["image_id"], row["instance_id"], "object", 0):
        yield "the proposal_id is not image:object:object:0"
    if (row["scale"], row["semantic"], row["granularity"], row["bin"]) != (1.0, 1.0, 1.0, BINS):
        yield "an object has scale, semantic and granularity 1 and bin 10"
    for name in ("step", "parent_id", "label", "peak_proposal", "peak_object", "click", "clicks"):
        if row[name] is not None:
            yield f"an object has no {name}"


def _part_problems(row: Json, owner: Json, run: CheckedRun) -> Iterator[str]:
    if row["kind"] != "annotated":
        expected_id = proposal_id(row["image_id"], row["instance_id"], row["kind"], row["step"])
        further = row["proposal_id"].removeprefix(expected_id)
        if not row["proposal_id"].startswith(expected_id) or not FURTHER.fullmatch(further):
            yield "the proposal_id is not image:object:kind:step"
        if row["parent_id"] != owner["proposal_id"]:
            yield "the parent is not its object"
        given = row["clicks"] is not None or not run.imported
        if given and _are_odd(row["clicks"]):
            yield "clicks are not one positive click and negative ones after it"
    else:
        if row["label"] is None:
            yield "an annotated part has no label"
        place = f"{row['image_id']}:{row['instance_id']}:"
        if not row["proposal_id"].startswith(f"{place}annotated:"):
            yield "the proposal_id is not image:object:annotated:part"
        if not row["parent_id"].startswith(place):
            yield "the parent is of another object"
    if any(row[name] is None for name in ("peak_proposal", "peak_object", "click")):
        if run.imported:
            if granularity_bin(row["granularity"]) != row["bin"]:
                yield f"bin is {row['bin']}, the granularity gives {granularity_bin(row['granularity'])}"
            return
        yield "peaks or click are missing"
        return
    if owner["area"] < 1:
        return
    expected = combine(row["area"] / owner["area"], row["peak_proposal"], row["peak_object"], run.config.granularity)
    for name, value in zip(("scale", "semantic", "granularity"), expected, strict=True):
        if float(np.float32(value)) != row[name]:
            yield f"{name} is {row[name]:.7g}, area and peaks give {value:.7g}"
    if granularity_bin(expected[2]) != row["bin"]:
        yield f"bin is {row['bin']}, the granularity gives {granularity_bin(expected[2])}"


def _are_odd(clicks: Sequence[Json] | None) -> bool:
    """Whether clicks are other than one positive click and negative ones after it."""
    return not clicks or not clicks[0]["positive"] or any(click["positive"] for click in clicks[1:])
