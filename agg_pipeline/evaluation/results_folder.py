"""A folder of results: its files, and reading them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from agg_pipeline.evaluation.mask_results import MaskResult, masks_of
from agg_pipeline.evaluation.summary import RESULTS_VERSION, MetricSettings, metric_settings
from agg_pipeline.execution.parquet_files import OF_RESULTS, read_table
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.checked_json import checked
from schemas.documents import EvaluationSummary
from schemas.errors import StorageError, UserError
from schemas.tables import CLICKS, EVALUATION_FILES, TARGETS

RUN = "run"
"""Folder of the shards, below the results."""
SUMMARY, TIMINGS, REPORT = "summary.json", "timings.json", "report.html"
RESULTS = (*(f"{name}.parquet" for name in EVALUATION_FILES), SUMMARY, TIMINGS, REPORT)
EVALUATE_AGAIN = "run the same evaluation again, which writes it again"
"""What to do about a damaged file of a results folder."""
Tables = dict[str, pa.Table]


@dataclass(frozen=True, eq=False)
class Results:
    """What a folder of results holds.

    Attributes:
        name: its name in tables; defaults to the path of the folder.
        dataset: name of the data set.
        settings: what the metrics depend on.
        masks: evaluated masks with their interactions.
        facts: sha256 of the image and compressed run lengths, by the id of the mask.
    """

    name: str
    dataset: str
    settings: MetricSettings
    masks: tuple[MaskResult, ...]
    facts: dict[str, tuple[str, bytes]]


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
    except StorageError:
        raise
    except UserError as error:
        raise UserError(f"{error}; {EVALUATE_AGAIN}") from error
    return summary


def open_results(path: str) -> Results:
    """Read a folder of results.

    Args:
        path: the folder, a path or URL.

    Raises:
        UserError: it holds no results, the evaluation is not finished, or a file is damaged.
    """
    store = Store(path)
    summary = read_summary(store)
    tables = {}
    for name, schema in (("targets", TARGETS), ("objects", CLICKS)):
        tables[name] = read_table(store, f"{name}.parquet", schema, advice=EVALUATE_AGAIN, limit=OF_RESULTS)
    settings = metric_settings(summary["plan"])
    name = summary["plan"]["dataset"]["name"]
    try:
        masks = masks_of(tables["targets"], tables["objects"])
    except ValueError as error:
        raise UserError(f"the tables in {path} are damaged ({error}); {EVALUATE_AGAIN}") from error
    columns = (tables["targets"][column].to_pylist() for column in ("target_id", "sha256", "rle"))
    facts = {target_id: (sha256, rle) for target_id, sha256, rle in zip(*columns, strict=True)}
    return Results(path.rstrip("/"), name, settings, tuple(masks), facts)


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
