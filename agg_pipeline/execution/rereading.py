"""Trying again, when a run is resumed, to read the images that it could not use before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from agg_pipeline.datasets.all_cores import in_all_cores
from agg_pipeline.execution.parquet_files import read_table
from agg_pipeline.execution.shard_files import shard_name
from agg_pipeline.execution.shard_task import ShardTask, read_entry
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.records import ImageEntry, Reject
from schemas.tables import READING_REASONS, REJECTS


def changed_rejects(store: Store, tasks: Sequence[ShardTask[Any]], sidecars: Mapping[int, Json]) -> set[int]:
    """The finished shards with an image that could not be read when they were made, and gives another result now.

    Args:
        store: the folder of the shards.
        tasks: the finished shards.
        sidecars: their sidecars, by shard.

    Returns:
        Numbers of the shards that must be made again.

    Raises:
        StorageError: an image cannot be read now, which says nothing about it.
        UserError: the rejects of a shard are damaged.
    """
    before: list[tuple[int, str]] = []
    entries: list[ImageEntry] = []
    for task in tasks:
        rejects = _unread(store, task.index, sidecars[task.index])
        for entry in task.entries:
            if entry.image_id in rejects:
                before.append((task.index, rejects[entry.image_id]))
                entries.append(entry)
    if not entries:
        return set()
    found = in_all_cores(partial(_reason, tasks[0]), entries, _killed)
    return {shard for (shard, old), new in zip(before, found, strict=True) if new != old}


def _unread(store: Store, shard: int, sidecar: Json) -> dict[str, str]:
    """The reason of the images of a shard that could not be read, by image id."""
    path = f"rejects/{shard_name(shard)}.parquet"
    counts = sidecar.get("rejects")
    there = READING_REASONS & counts.keys() if isinstance(counts, dict) else sidecar["files"][path]["rows"]
    if not there:
        return {}
    rows = read_table(store, path, REJECTS, ["image_id", "instance_id", "reason"]).to_pylist()
    return {
        row["image_id"]: row["reason"]
        for row in rows
        if row["reason"] in READING_REASONS and row["instance_id"] is None
    }


def _killed(_entry: ImageEntry, _how: str) -> str:
    return "killed_worker"


def _reason(task: ShardTask[Any], entry: ImageEntry) -> str | None:
    """Why an image cannot be used now; None if it can."""
    found = read_entry(task, entry)
    return found.reason if isinstance(found, Reject) else None
