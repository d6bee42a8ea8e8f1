"""The rows of a proposal database: from records to tables, and writing a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.execution import shard_files
from agg_pipeline.execution.shard_files import Stamp
from agg_pipeline.storage.rle import encode
from agg_pipeline.storage.store import Store
from schemas.canonical import Json, Row
from schemas.crop import MaskCrop, area
from schemas.numbers import BINS
from schemas.records import Estimate, ImageSummary, Proposal, Reject, Target
from schemas.tables import FILES, KINDS, REJECTS, SOURCE


def proposal_id(image_id: str, instance_id: int, kind: str, step: int | str) -> str:
    """The unique id of a mask, ``image:object:kind:step``.

    Args:
        image_id: id of the image.
        instance_id: id of the object in its image.
        kind: one of ``KINDS``.
        step: t of the mask Y_t, the id of an annotated part, or 0 for the object itself.
    """
    return f"{image_id}:{instance_id}:{kind}:{step}"


def tables(
    images: Sequence[ImageSummary],
    targets: Sequence[Target],
    estimates: Sequence[Estimate],
    rejects: Sequence[Reject],
) -> dict[str, pa.Table]:
    """Make the tables of a shard.

    Args:
        images: images that could be read.
        targets: objects, in the order of their rows.
        estimates: the granularities of their masks; those of one object in the order of their rows.
        rejects: what was dropped.

    Returns:
        The Arrow tables ``proposals``, ``images`` and ``rejects``, by name.
    """
    of_target: dict[tuple[str, int], list[Estimate]] = {}
    for estimate in estimates:
        of_target.setdefault(estimate.query.target.key, []).append(estimate)
    proposals: list[Row] = []
    for target in targets:
        proposals.append(object_row(target))
        proposals += [estimate_row(estimate) for estimate in of_target.get(target.key, [])]
    rows = {
        "proposals": proposals,
        "images": [asdict(image) for image in images],
        "rejects": [reject_row(reject) for reject in rejects],
    }
    # A run is the only source of its rows.
    return {
        name: pa.Table.from_pylist([row | {SOURCE.name: 0} for row in rows[name]], schema)
        for name, schema in FILES.items()
    }


def _mask_columns(target: Target, mask: MaskCrop) -> Row:
    box = mask.box
    return {
        "image_id": target.image.image_id,
        "instance_id": target.object.instance_id,
        "category": target.object.category,
        "height": mask.height,
        "width": mask.width,
        "rle": encode(mask),
        "area": area(mask),
        "bbox": {"x": box.left, "y": box.top, "w": box.width, "h": box.height},
    }


def object_row(target: Target) -> Row:
    """The row of an object itself: granularity 1 by definition."""
    row = _mask_columns(target, target.object.mask)
    row["proposal_id"] = proposal_id(target.image.image_id, target.object.instance_id, "object", 0)
    row |= {"kind": "object", "scale": 1.0, "semantic": 1.0, "granularity": 1.0, "bin": BINS}
    return row


def estimate_row(estimate: Estimate) -> Row:
    """The row of a part, a complement, or an annotated part."""
    query = estimate.query
    target, part = query.target, query.part
    ids = target.image.image_id, target.object.instance_id
    row = _mask_columns(target, estimate.mask)
    if isinstance(part, Proposal):
        row["proposal_id"] = proposal_id(*ids, query.kind, part.step)
        row["parent_id"] = proposal_id(*ids, "object", 0)
        row["step"] = part.step
        row["clicks"] = [{"row": c.row, "col": c.col, "positive": c.positive} for c in part.clicks]
    else:
        around = ("object", 0) if part.parent_id is None else (query.kind, part.parent_id)
        row["proposal_id"] = proposal_id(*ids, query.kind, part.part_id)
        row["parent_id"] = proposal_id(*ids, *around)
        row["label"] = part.label
    row |= {
        "kind": query.kind,
        "scale": estimate.scale,
        "peak_proposal": estimate.peak_proposal,
        "peak_object": estimate.peak_object,
        "semantic": estimate.semantic,
        "granularity": estimate.granularity,
        "bin": estimate.bin,
        "click": {"row": estimate.click.row, "col": estimate.click.col},
    }
    return row


def reject_row(reject: Reject) -> Row:
    """The row of what was dropped."""
    return {name: getattr(reject, name) for name in REJECTS.names}


def write_proposals(store: Store, index: int, images: int, stamp: Stamp, tables: Mapping[str, pa.Table]) -> Json:
    """Write a shard's tables.

    Args:
        store: the database.
        index: number of the shard.
        images: number of images of the plan that the shard covers.
        stamp: what every file says of the run.
        tables: the tables of the shard, by name.

    Returns:
        The sidecar, which is not written yet.
    """
    counts = {
        "kinds": _counted(tables["proposals"]["kind"], KINDS),
        "rejects": _counted(tables["rejects"]["reason"], ()),
    }
    return shard_files.write_shard(store, DATABASE_LAYOUT, index, images, stamp, tables, counts)


def _counted(column: pa.ChunkedArray, always: Sequence[str]) -> dict[str, int]:
    counts = Counter(column.to_pylist())
    return {name: counts[name] for name in sorted({*always, *counts})}
