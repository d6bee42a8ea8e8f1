"""The tables of an evaluation in one piece, from those of its shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.evaluation.results import Tables
from agg_pipeline.execution.chain import ShardTask
from agg_pipeline.execution.shard_files import read_table, shard_name
from agg_pipeline.storage.store import Store
from schemas.tables import EVALUATION_FILES


def collect(store: Store, tasks: Sequence[ShardTask[Any]]) -> Tables:
    """The tables of all shards in one piece, without the masks of shards that hold more than their task asks for."""
    parts: dict[str, list[pa.Table]] = {name: [] for name in EVALUATION_FILES}
    for task in tasks:
        tables = {name: read_table(store, f"{name}/{shard_name(task.index)}.parquet") for name in parts}
        images = pa.array([entry.image_id for entry in task.entries])
        targets = tables["targets"]
        targets = targets.filter(pc.is_in(targets["image_id"], images)).slice(0, task.limit)
        ids = targets["target_id"].combine_chunks()
        for name, table in tables.items():
            column, wanted = ("image_id", images) if name == "rejects" else ("target_id", ids)
            parts[name].append(table.filter(pc.is_in(table[column], wanted)))
    return {name: pa.concat_tables(tables).combine_chunks() for name, tables in parts.items()}
