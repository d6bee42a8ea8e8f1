"""A folder of results: its files, and reading them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from agg_pipeline.evaluation.mask_results import MaskResult, masks_of
from agg_pipeline.evaluation.result_rows import CLICKS, MASKS, OF_CLICKS, DamagedRowsError
from agg_pipeline.evaluation.summary import RESULTS_VERSION, MetricSettings, hash_of, metric_settings
from agg_pipeline.execution.parquet_files import TableLimit, read_table
from agg_pipeline.execution.plan import layout_of
from agg_pipeline.execution.shard_files import checksum
from agg_pipeline.storage.store import Store
from schemas import limits, tables
from schemas.canonical import Json
from schemas.checked_json import checked
from schemas.documents import EvaluationSummary
from schemas.errors import StorageError, UserError
from schemas.tables import EVALUATION_FILES, TARGETS

RUN = "run"
"""Folder of the shards, below the results."""
SUMMARY, TIMINGS, REPORT = "summary.json", "timings.json", "report.html"
RESULTS = (*(f"{name}.parquet" for name in EVALUATION_FILES), SUMMARY, TIMINGS, REPORT)
EVALUATE_AGAIN = "run the same evaluation again, which writes it again"
"""What to do about a damaged file of a results folder."""
CHANGED = "was changed after it was written"
Tables = dict[str, pa.Table]


@dataclass(frozen=True, eq=False)
class Results:
    """What a folder of results holds.

    Attributes:
        name: its name in tables; defaults to the path of the folder.
        dataset: name of the data set.
        settings: what the metrics depend on.
        masks: evaluated masks with their interactions.
        facts: sha256 of the image, compressed run lengths and level, by the id of the mask.
    """

    name: str
    dataset: str
    settings: MetricSettings
    masks: tuple[MaskResult, ...]
    facts: dict[str, tuple[str | bytes, ...]]


def read_summary(store: Store) -> Json:
    """The summary of a results folder; UserError if the folder has none, or a damaged one."""
    if not store.exists(SUMMARY):
        raise UserError(
            f"{store.url} is not a folder of results, because it has no {SUMMARY}; was the evaluation finished?"
        )
    where = f"{store.url}/{SUMMARY}"
    try:
        summary: Json = store.read_json(SUMMARY, dict[str, Any])
        if summary.get("format_version") != RESULTS_VERSION:
            raise UserError(f"{where} is not of format {RESULTS_VERSION}, which this version of agg reads")
        checked(summary, EvaluationSummary, f"{where} is not the summary of an evaluation")
        if "checksum" in summary and summary["checksum"] != checksum(summary):
            raise UserError(f"{where} {CHANGED}")
    except StorageError:
        raise
    except UserError as error:
        raise UserError(f"{error}; {EVALUATE_AGAIN}") from error
    return summary


def with_checksums(summary: Json, files: Json) -> Json:
    """The summary as it is written: with the facts of the tables beside it, by path, and a checksum of all of it."""
    written = summary | {"files": files}
    return written | {"checksum": checksum(written)}


def open_results(path: str) -> Results:
    """Read a folder of results.

    Args:
        path: the folder, a path or URL.

    Raises:
        UserError: it holds no results, the evaluation is not finished, or a file is damaged.
    """
    store = Store(path)
    summary = read_summary(store)
    try:
        settings = metric_settings(summary["plan"])
    except UserError as error:
        raise UserError(f"{store.url}/{SUMMARY}: {error}; {EVALUATE_AGAIN}") from error
    try:
        targets = _read_masks(store, summary)
        masks = masks_of(targets, _read_clicks(store, summary, settings))
        settings.check(masks)
    except DamagedRowsError as error:
        raise UserError(f"the tables in {path} are damaged ({error}); {EVALUATE_AGAIN}") from error
    columns = (targets[column].to_pylist() for column in ("target_id", "sha256", "rle", "level"))
    facts = {target_id: tuple(others) for target_id, *others in zip(*columns, strict=True)}
    return Results(path.rstrip("/"), layout_of(summary["plan"]), settings, tuple(masks), facts)


def check_results(path: str) -> str:
    """Check that a folder of results is as an evaluation has written it; its tables are not decoded.

    Args:
        path: the folder, a path or URL.

    Returns:
        The mode of the evaluation (``EvaluationConfig.mode``).

    Raises:
        UserError: the evaluation is not finished, or a file is missing or was changed.
    """
    store = Store(path)
    summary = read_summary(store)
    for table in (MASKS, CLICKS):
        if not store.sizes([table]):
            raise UserError(f"{store.url}/{table} is missing; {EVALUATE_AGAIN}")
        _check_file(store, summary, table)
    return str(summary["plan"]["config"]["mode"])


def _read_masks(store: Store, summary: Json) -> pa.Table:
    """The rows of masks, which are those that the summary is of."""
    rows = min(summary["masks"], limits.RESULT_MASKS)
    limit = TableLimit(rows, min(rows * limits.SEGMENTATION_BYTES, limits.RESULT_TABLE_BYTES))
    _check_file(store, summary, MASKS)
    targets = read_table(store, MASKS, TARGETS, advice=EVALUATE_AGAIN, limit=limit)
    if targets.num_rows != summary["masks"] or hash_of(targets["target_id"].to_pylist()) != summary["targets"]:
        raise DamagedRowsError(MASKS, f"has other masks than {SUMMARY} says")
    return targets


def _read_clicks(store: Store, summary: Json, settings: MetricSettings) -> pa.Table:
    """The rows of clicks, no more than the masks can have."""
    rows = min(summary["masks"] * settings.interactions * settings.max_clicks, limits.RESULT_ROWS)
    limit = TableLimit(rows, min(rows * limits.RESULT_ROW_BYTES, limits.RESULT_TABLE_BYTES))
    _check_file(store, summary, CLICKS)
    return read_table(store, CLICKS, tables.CLICKS, OF_CLICKS, EVALUATE_AGAIN, limit)


def _check_file(store: Store, summary: Json, path: str) -> None:
    """UserError if a table is there, and is not the one that the summary was written with.

    Version 0.1 of this program wrote no checksums; the checks of the rows must do.
    """
    facts, sizes = summary.get("files", {}).get(path), store.sizes([path])
    if facts is None or path not in sizes:
        return
    if sizes[path] != facts["bytes"] or hashlib.sha256(store.read(path)).hexdigest() != facts["sha256"]:
        raise UserError(f"{store.url}/{path} cannot be read (it {CHANGED}); {EVALUATE_AGAIN}")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a run leaves.

    Attributes:
        store: folder of the results.
        tables: Arrow tables, by the names of ``EVALUATION_FILES``.
        summary: the metrics, as in ``summary.json``.
        timings: duration and latency, as in ``timings.json``; None if they are unknown.
        images: number of images that were read.
    """

    store: Store
    tables: Tables
    summary: Json
    timings: Json | None
    images: int
