"""From a finished shard to the rows of its tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from agg_pipeline.database import write_shard
from agg_pipeline.rle import encode
from agg_pipeline.shard import Shard
from agg_pipeline.sharded import Json
from agg_pipeline.storage import Store
from schemas.crop import MaskCrop, area
from schemas.numbers import BINS
from schemas.tables import IMAGES, PROPOSALS, REJECTS
from stages.granularity import Estimate
from stages.mask_engine import Target
from stages.postprocess import Proposal, Reject

Row = dict[str, Any]


def proposal_id(image_id: str, instance_id: int, kind: str, step: int | str) -> str:
    """Unique id of a mask: image : object : kind : step or part id (0 for the object itself)."""
    return f"{image_id}:{instance_id}:{kind}:{step}"


def tables(shard: Shard) -> dict[str, pa.Table]:
    """The three tables of a shard, rows in the order of its images and objects."""
    estimates: dict[Target, list[Estimate]] = {}
    for estimate in shard.estimates:
        estimates.setdefault(estimate.query.target, []).append(estimate)
    proposals: list[Row] = []
    for target in shard.targets:
        proposals.append(object_row(target))
        proposals += [estimate_row(estimate) for estimate in estimates.get(target, [])]
    images = [{name: getattr(image, name) for name in IMAGES.names} for image in shard.images]
    return {
        "proposals": pa.Table.from_pylist(proposals, PROPOSALS),
        "images": pa.Table.from_pylist(images, IMAGES),
        "rejects": pa.Table.from_pylist([reject_row(reject) for reject in _rejects(shard)], REJECTS),
    }


def write(shard: Shard, store: Store, config_hash: str) -> Json:
    """Write the tables of a finished shard into a database; returns its sidecar."""
    return write_shard(store, shard.task.index, len(shard.task.entries), config_hash, tables(shard))


def _rejects(shard: Shard) -> Iterable[Reject]:
    yield from shard.rejects
    for proposals in shard.proposals:
        yield from proposals.rejects


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
