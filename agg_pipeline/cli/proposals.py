"""``agg proposals``: make, check and describe proposal databases."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from agg_pipeline.cli.options import (
    DATA_OPTIONS,
    MODEL_OPTIONS,
    RUN_OPTIONS,
    check_start,
    how_to_go_on,
    read_toml,
    resolve,
    with_options,
)
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.status import status
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.parts import open_parts
from agg_pipeline.datasets.registry import DATASETS, open_dataset
from agg_pipeline.datasets.selection import Selection, nothing_selected, select
from agg_pipeline.execution.job import RunOptions
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.proposals.recall import part_recall
from agg_pipeline.proposals.run import Summary, check_lost_images, run
from agg_pipeline.proposals.statistics_page import write_statistics
from agg_pipeline.proposals.summary_tables import print_stats, print_status, print_summary
from agg_pipeline.report.gallery import write_gallery
from agg_pipeline.report.progress import RunProgress
from agg_pipeline.report.terminal import print_findings
from agg_pipeline.storage.store import Store
from schemas.config import PRESETS, ProposalsConfig, Source
from schemas.errors import StorageError, UserError


@click.group("proposals")
def group() -> None:
    """Make, check and describe proposal databases (AGG)."""


_OWN_OPTIONS = (
    click.option("--out", required=True, help="Output folder; the database goes to OUT/database."),
    click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Default: paper."),
    click.option("--gallery-images", default=12, type=click.IntRange(min=0), help="Images in the gallery."),
)


def _with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    return with_options(*DATA_OPTIONS, *MODEL_OPTIONS, *_OWN_OPTIONS, *RUN_OPTIONS)(command)


@group.command("run")
@_with_run_options
@click.option("--rounds", type=int, help="Simulated interactions of each object.")
@click.option("--contrast", type=int, help="A negative click is, of N pixels, the most unlike the positive one's.")
def run_command(**options: Any) -> None:
    """Turn a data set into a proposal database. The same command again goes on where it stopped."""
    _run("agg", **options)


@group.command("annotate")
@_with_run_options
def annotate_command(**options: Any) -> None:
    """Turn a data set's annotated parts into a database with granularities, as ``run`` does with simulated ones."""
    _run("gt", **options)


def _run(
    source: Source,
    dataset: str,
    data: str,
    split: str | None,
    exclude_list: str,
    classes: tuple[str, ...],
    skip_classes: tuple[str, ...],
    checkpoint: str | None,
    out: str,
    preset: str | None,
    config: Path | None,
    limit_images: int | None,
    workers: int | None,
    scheduler: str | None,
    max_reject_share: float,
    gallery_images: int,
    overwrite: bool,
    verify: bool,
    **settings: Any,
) -> None:
    check_start(out)
    resolved = replace(_resolve(preset, config, settings), source=source)
    options = RunOptions(out, limit_images, workers, scheduler, overwrite, verify)
    listed = select(open_dataset(dataset, data, split), Selection(exclude_list, classes, skip_classes))
    if source == "gt" and "part" not in listed.about.levels:
        raise UserError(f"data set {dataset} has no annotated parts; {_with_parts()} have")
    progress = RunProgress()
    try:
        summary = run(listed, checkpoint or str(default_checkpoint()), resolved, options, progress.callbacks())
    except StorageError as error:
        raise UserError(f"{error}; {how_to_go_on(overwrite)}") from error
    except KeyboardInterrupt:
        click.echo(f"stopped; {how_to_go_on(overwrite)}", err=True)
        sys.exit(130)
    finally:
        progress.close()
    print_summary(summary)
    if (classes or skip_classes) and not summary.manifest["totals"]["objects"]:
        raise nothing_selected(listed)
    _write_report(summary, listed, Store(out).below("report"), gallery_images)
    check_lost_images(summary, max_reject_share)


def _with_parts() -> str:
    return ", ".join(sorted(name for name, known in DATASETS.items() if "part" in known.about.levels))


def _resolve(preset: str | None, path: Path | None, settings: dict[str, Any]) -> ProposalsConfig:
    if path is not None and "source" in read_toml(path):
        raise UserError(f"{path} sets source; the commands run and annotate choose it")
    return resolve(PRESETS, preset, path, settings)


def _write_report(summary: Summary, dataset: Dataset, report: Store, images: int) -> None:
    """Gallery and timings, beside the database and not in it."""
    if summary.images_done:
        timings = {"images": summary.images_done, "seconds": summary.seconds, **asdict(summary.times)}
        report.write_json("timings.json", timings)
    seed = summary.manifest["plan"]["seed"]
    shown = write_gallery(summary.database, dataset, report, "gallery.html", images, seed)
    click.echo(f"{report.url}/gallery.html shows {shown} images; the database is {summary.database.store.url}")


@group.command("status")
@click.argument("path")
def status_command(path: str) -> None:
    """How far a run is, and whether one is running."""
    print_status(status(open_proposals(path)))


@group.command("validate")
@click.argument("path")
def validate_command(path: str) -> None:
    """Check checksums, schemas, ids, masks, numbers and references; exit code 1 if something is wrong."""
    findings = list(validate(open_proposals(path)))
    print_findings(findings, "the database is valid")
    if findings:
        sys.exit(1)


@group.command("stats")
@click.argument("path")
@click.option("--parts", help="Annotated parts: NAME:ROOT of a set, 'demo', or a root like PartImageNet's.")
@click.option("--limit-objects", type=click.IntRange(min=1), help="A seeded choice of so many objects with parts.")
@click.option("--seed", default=0, help="Seed of that choice and of the random partitions.")
@click.option("--out", help="Folder of the page and the picture. Default: report, beside the database.")
def stats_command(path: str, parts: str | None, limit_objects: int | None, seed: int, out: str | None) -> None:
    """Counts and histograms by kind; with --parts, the recall of annotated parts against random partitions."""
    database = open_proposals(path)
    recall = None
    if parts is not None:
        recall = part_recall(database, open_parts(parts), limit_objects, seed)
    print_stats(database, recall)
    store = Store(out) if out else database.store.anchored().beside("report")
    write_statistics(database, recall, store)
    click.echo(f"{store.url}/stats.html and stats.png show the histograms")
