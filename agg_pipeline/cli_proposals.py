"""``agg proposals``: make, check and describe proposal databases."""

from __future__ import annotations

import signal
import sys
import tomllib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from agg_pipeline.console import RunProgress, print_stats, print_status, print_summary
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.parts import open_parts
from agg_pipeline.datasets.registry import DATASETS, open_dataset
from agg_pipeline.datasets.selection import Selection, nothing_selected, select
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.proposals import RunOptions, Summary, run
from agg_pipeline.reader import open_proposals
from agg_pipeline.recall import part_recall
from agg_pipeline.report.gallery import write_gallery
from agg_pipeline.report.statistics import write_statistics
from agg_pipeline.status import status
from agg_pipeline.storage import Store
from agg_pipeline.terminal import print_findings
from agg_pipeline.validate import validate
from schemas.config import PRESETS, ProposalsConfig, Source, override, validated
from schemas.errors import StorageError, UserError


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


@click.group()
def proposals() -> None:
    """Make, check and describe proposal databases (AGG)."""


_RUN_OPTIONS = (
    click.option("--dataset", default="demo", type=click.Choice(sorted(DATASETS)), help="Data set."),
    click.option("--data", default="", help="Root folder of the data set (any path or URL that fsspec knows)."),
    click.option("--split", help="Name of a split, or a list file. Default: the training split."),
    click.option("--exclude-list", default="", help="File with ids of images to leave out, one in each line."),
    click.option(
        "--class", "classes", multiple=True, help="Only this class (name, or its place in the set's list from 0)."
    ),
    click.option("--skip-class", "skip_classes", multiple=True, help="Not this class."),
    click.option(
        "--checkpoint", type=click.Path(dir_okay=False), help="Click model. Default: the one that is built in."
    ),
    click.option("--out", required=True, help="Output folder; the database goes to OUT/database."),
    click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Default: paper."),
    click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file over the preset."),
    click.option("--seed", type=int, help="Seed of every random choice."),
    click.option("--images-per-shard", type=int, help="Images in a shard."),
    click.option("--batch-objects", type=int, help="Objects in a batch of the model."),
    click.option("--input-size", type=int, help="Side of the model's input, pixels. Default: the checkpoint's."),
    click.option("--flip/--no-flip", default=None, help="Average with the mirrored image."),
    click.option("--device", help="cpu, cuda or cuda:N."),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Arithmetic of the model."),
    click.option("--limit-images", type=click.IntRange(min=1), help="Only the plan's first N images."),
    click.option(
        "--workers", type=click.IntRange(min=1), help="Worker processes. Default: one per core; on a GPU one."
    ),
    click.option("--scheduler", help="Address of an existing Dask cluster, tcp://..."),
    click.option("--max-reject-share", default=0.01, type=click.FloatRange(0, 1), help="Above it, the exit code is 1."),
    click.option("--gallery-images", default=12, type=click.IntRange(min=0), help="Images in the gallery."),
    click.option("--overwrite", is_flag=True, help="Delete another run's database first."),
)


def _with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


@proposals.command("run")
@_with_run_options
def run_command(**options: Any) -> None:
    """Turn a data set into a proposal database. The same command again goes on where it stopped."""
    _run("agg", **options)


@proposals.command("annotate")
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
    **settings: Any,
) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    if not out:
        raise UserError("--out is empty; name the output folder")
    resolved = replace(_resolve(preset, config, settings), source=source)
    options = RunOptions(out, limit_images, workers, scheduler, overwrite)
    listed = select(open_dataset(dataset, data, split), Selection(exclude_list, classes, skip_classes))
    if source == "gt" and "part" not in listed.about.levels:
        raise UserError(f"data set {dataset} has no annotated parts; {_with_parts()} have")
    progress = RunProgress()
    try:
        summary = run(listed, checkpoint or str(default_checkpoint()), resolved, options, progress.callbacks())
    except StorageError as error:
        raise UserError(f"{error}; {_how_to_go_on(overwrite)}") from error
    except KeyboardInterrupt:
        click.echo(f"stopped; {_how_to_go_on(overwrite)}", err=True)
        sys.exit(130)
    finally:
        progress.close()
    print_summary(summary)
    if (classes or skip_classes) and not summary.manifest["totals"]["objects"]:
        raise nothing_selected(listed)
    _write_report(summary, listed, Store(out).below("report"), gallery_images)
    if summary.reject_share > max_reject_share:
        raise UserError(
            f"{summary.reject_share:.1%} of the images fell out, more than --max-reject-share {max_reject_share:.1%}; "
            f"the reasons are in {summary.database.store.url}/rejects"
        )


def _how_to_go_on(overwrite: bool) -> str:
    without = ", without --overwrite," if overwrite else ""
    return f"what is finished stays, the same command{without} goes on from there"


def _with_parts() -> str:
    return ", ".join(sorted(name for name, known in DATASETS.items() if "part" in known.about.levels))


SETTINGS = {
    "seed": ("seed",),
    "images_per_shard": ("batch", "images_per_shard"),
    "batch_objects": ("batch", "batch_objects"),
    "input_size": ("predictor", "input_size"),
    "flip": ("predictor", "flip"),
    "device": ("predictor", "device"),
    "dtype": ("predictor", "dtype"),
}
"""Where the options of the command line lie in the configuration."""


def _resolve(preset: str | None, path: Path | None, settings: dict[str, Any]) -> ProposalsConfig:
    """Preset < TOML file < command line."""
    written: dict[str, Any] = {}
    if path is not None:
        try:
            written = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise UserError(f"configuration file {path} does not exist") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"configuration file {path} is not TOML: {error}") from error
    if "source" in written:
        raise UserError(f"{path} sets source; the commands run and annotate choose it")
    name = preset or written.pop("preset", "paper")
    if name not in list(PRESETS):
        raise UserError(f"unknown preset {name!r}; possible: {', '.join(sorted(PRESETS))}")
    written.pop("preset", None)
    config = override(PRESETS[name], written)
    for option, value in settings.items():
        if value is not None:
            *table, key = SETTINGS[option]
            change = {table[0]: {key: value}} if table else {key: value}
            config = override(config, change)
    return validated(replace(config, preset=name))


def _write_report(summary: Summary, dataset: Dataset, report: Store, images: int) -> None:
    """Gallery and timings, beside the database and not in it."""
    if summary.images_done:
        timings = {"images": summary.images_done, "seconds": summary.seconds, **asdict(summary.times)}
        report.write_json("timings.json", timings)
    seed = summary.manifest["plan"]["seed"]
    shown = write_gallery(summary.database, dataset, report, "gallery.html", images, seed)
    click.echo(f"{report.url}/gallery.html shows {shown} images; the database is {summary.database.store.url}")


@proposals.command("status")
@click.argument("path")
def status_command(path: str) -> None:
    """How far a run is, and whether one is running."""
    print_status(status(open_proposals(path)))


@proposals.command("validate")
@click.argument("path")
def validate_command(path: str) -> None:
    """Check checksums, schemas, ids, masks, numbers and references; exit code 1 if something is wrong."""
    findings = list(validate(open_proposals(path)))
    print_findings(findings, "the database is valid")
    if findings:
        sys.exit(1)


@proposals.command("stats")
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
