"""The tables of an evaluation: the rows of a finished shard, and the tables of all shards in one piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.proposal_rows import reject_row
from agg_pipeline.evaluation.interactions import EvaluationShard, Outcome
from agg_pipeline.evaluation.results_folder import Tables
from agg_pipeline.execution.parquet_files import read_table
from agg_pipeline.execution.shard_files import Layout, Stamp, shard_name, write_shard
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.storage.rle import encode
from agg_pipeline.storage.store import Store
from schemas.canonical import Json, Row, content_hash
from schemas.crop import area
from schemas.documents import EvaluationCounts
from schemas.tables import CLICKS, EVALUATION_FILES, MASKS, REJECTS, TARGETS
from stages.evaluate import noc

EVALUATION_LAYOUT = Layout(
    what="an evaluation",
    version=1,
    minor=0,
    algorithm_version=1,
    folders=tuple(EVALUATION_FILES),
    counts=EvaluationCounts,
    summaries=(),
)


def write(shard: EvaluationShard, store: Store, stamp: Stamp) -> Json:
    """Write the tables of a finished shard.

    Args:
        shard: its last state.
        store: folder of the shards.
        stamp: what every file says of the run.

    Returns:
        The sidecar, which is not written yet.
    """
    task = shard.task
    counts = {
        "masks": len(shard.outcomes),
        "whole": shard.whole,
        "chosen": chosen_masks(task),
        "noc": _noc_so_far(shard),
    }
    return write_shard(store, EVALUATION_LAYOUT, task.index, len(task.entries), stamp, tables(shard), counts)


def chosen_masks(task: ShardTask[Any]) -> str:
    """A hash of the ids of the masks that a task is to use of its images; "" if it uses all."""
    return "" if task.chosen is None else content_hash(sorted(task.chosen))


def _noc_so_far(shard: EvaluationShard) -> Json:
    """By level: the IoU at which an interaction ends, masks, and the sum of their clicks until then."""
    masks: Counter[str] = Counter()
    clicks: Counter[str] = Counter()
    targets: dict[str, float] = {}
    for outcome in shard.outcomes:
        level, iou = outcome.target.level, outcome.target.wanted_iou
        ious = [step.iou for step in outcome.attempts[outcome.chosen].steps]
        masks[level] += 1
        clicks[level] += noc(ious, iou, shard.task.config.clicks.max_clicks)
        targets[level] = iou
    return {level: {"target": targets[level], "masks": masks[level], "clicks": clicks[level]} for level in targets}


def tables(shard: EvaluationShard) -> dict[str, pa.Table]:
    """The tables of a shard, rows in the order of its images, masks, interactions and clicks."""
    clicks: list[Row] = []
    masks: list[Row] = []
    for outcome in shard.outcomes:
        for number in range(len(outcome.attempts)):
            clicks += _click_rows(outcome, number)
            masks += _mask_rows(outcome, number)
    return {
        "objects": pa.Table.from_pylist(clicks, CLICKS),
        "targets": pa.Table.from_pylist([_target_row(outcome) for outcome in shard.outcomes], TARGETS),
        "masks": pa.Table.from_pylist(masks, MASKS),
        "rejects": pa.Table.from_pylist([reject_row(reject) for reject in shard.rejects], REJECTS),
    }


def _click_rows(outcome: Outcome, number: int) -> list[Row]:
    target, attempt = outcome.target, outcome.attempts[number]
    of_interaction = {
        "target_id": target.target_id,
        "image_id": target.image.image_id,
        "instance_id": target.instance_id,
        "level": target.level,
        "category": target.category,
        "label": target.label,
        "granularity": attempt.start.granularity,
        "chosen": number == outcome.chosen,
        "attempt": number,
    }
    return [
        of_interaction
        | {
            "click": click,
            "iou": step.iou,
            "row": step.click.row,
            "col": step.click.col,
            "positive": step.click.positive,
            "area": step.area,
        }
        for click, step in enumerate(attempt.steps, start=1)
    ]


def _mask_rows(outcome: Outcome, number: int) -> list[Row]:
    attempt = outcome.attempts[number]
    of_interaction = {
        "target_id": outcome.target.target_id,
        "attempt": number,
        "granularity": attempt.start.granularity,
    }
    clicks = sorted({1, len(attempt.steps)})
    return [of_interaction | {"click": click, "rle": rle} for click, rle in zip(clicks, attempt.masks, strict=True)]


def _target_row(outcome: Outcome) -> Row:
    target = outcome.target
    return {
        "target_id": target.target_id,
        "image_id": target.image.image_id,
        "level": target.level,
        "class": target.class_name,
        "height": target.image.height,
        "width": target.image.width,
        "area": area(target.truth),
        "rle": encode(target.truth),
        "target": target.wanted_iou,
        "sha256": target.image.sha256,
    }


def collect(store: Store, tasks: Sequence[ShardTask[Any]]) -> Tables:
    """The tables of all shards in one piece, without the masks of shards that hold more than their task asks for."""
    parts: dict[str, list[pa.Table]] = {name: [] for name in EVALUATION_FILES}
    for task in tasks:
        tables = {
            name: read_table(store, f"{name}/{shard_name(task.index)}.parquet", schema)
            for name, schema in EVALUATION_FILES.items()
        }
        images = pa.array([entry.image_id for entry in task.entries])
        targets = tables["targets"]
        targets = targets.filter(pc.is_in(targets["image_id"], images)).slice(0, task.limit)
        ids = targets["target_id"].combine_chunks()
        for name, table in tables.items():
            column, wanted = ("image_id", images) if name == "rejects" else ("target_id", ids)
            parts[name].append(table.filter(pc.is_in(table[column], wanted)))
    # Without what the files of shards say of the run: the tables are the same however the images are cut into shards.
    return {
        name: pa.concat_tables(tables).combine_chunks().replace_schema_metadata(None) for name, tables in parts.items()
    }
