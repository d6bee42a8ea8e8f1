"""The ``agg`` command."""

from __future__ import annotations

import signal
import sys
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from agg_pipeline.console import RunProgress, print_findings, print_stats, print_status, print_summary
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.generated import demo_parts
from agg_pipeline.datasets.partimagenet import open_parts
from agg_pipeline.datasets.registry import DATASETS, open_dataset
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.proposals import RunOptions, Summary, run
from agg_pipeline.reader import open_proposals
from agg_pipeline.recall import part_recall
from agg_pipeline.report.gallery import write_gallery
from agg_pipeline.status import status
from agg_pipeline.storage import Store
from agg_pipeline.validate import validate
from schemas.config import PRESETS, ProposalsConfig, override, validated
from schemas.errors import StorageError, UserError


class Group(click.Group):
    """Turns errors that a user can mend into one line and an exit code; ``--debug`` shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except (UserError, click.ClickException) as error:
            if ctx.params.get("debug"):
                raise
            message = error.format_message() if isinstance(error, click.ClickException) else error
            click.echo(f"error: {message}", err=True)
            sys.exit(2)


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """GraCo: masks of any granularity from object masks, and models that are controlled by a number."""


@main.group()
def proposals() -> None:
    """Make, check and describe proposal databases (AGG)."""


@proposals.command("run")
@click.option("--dataset", default="demo", type=click.Choice(sorted(DATASETS)), help="Data set.")
@click.option("--data", default="", help="Root folder of the data set (any path or URL that fsspec knows).")
@click.option("--split", help="Name of a split, or a list file. Default: the training split.")
@click.option("--checkpoint", type=click.Path(dir_okay=False), help="Click model. Default: the one that is built in.")
@click.option("--out", required=True, help="Output folder; the database goes to OUT/database.")
@click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Default: paper.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file over the preset.")
@click.option("--seed", type=int, help="Seed of every random choice.")
@click.option("--images-per-shard", type=int, help="Images in a shard.")
@click.option("--batch-objects", type=int, help="Objects in a batch of the model.")
@click.option("--input-size", type=int, help="Side of the model's input, pixels. Default: the checkpoint's.")
@click.option("--flip/--no-flip", default=None, help="Average with the mirrored image.")
@click.option("--device", help="cpu, cuda or cuda:N.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Arithmetic of the model.")
@click.option("--limit-images", type=click.IntRange(min=1), help="Only the plan's first N images.")
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes. Default: one per core; on a GPU one.")
@click.option("--scheduler", help="Address of an existing Dask cluster, tcp://...")
@click.option("--max-reject-share", default=0.01, type=click.FloatRange(0, 1), help="Above it, the exit code is 1.")
@click.option("--gallery-images", default=12, type=click.IntRange(min=0), help="Images in the gallery.")
@click.option("--overwrite", is_flag=True, help="Delete another run's database first.")
def run_command(
    dataset: str,
    data: str,
    split: str | None,
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
    """Turn a data set into a proposal database. The same command again goes on where it stopped."""
    signal.signal(signal.SIGTERM, _interrupt)
    if not out:
        raise UserError("--out is empty; name the output folder")
    resolved = _resolve(preset, config, settings)
    options = RunOptions(out, limit_images, workers, scheduler, overwrite)
    listed = open_dataset(dataset, data, split)
    progress = RunProgress()
    try:
        summary = run(listed, checkpoint or str(default_checkpoint()), resolved, options, progress.callbacks())
    except StorageError as error:
        raise UserError(f"{error}; what is finished stays, the same command goes on from there") from error
    except KeyboardInterrupt:
        click.echo("stopped; what is finished stays, the same command goes on from there", err=True)
        sys.exit(130)
    finally:
        progress.close()
    print_summary(summary)
    _write_report(summary, listed, Store(out).below("report"), gallery_images)
    if summary.reject_share > max_reject_share:
        raise UserError(
            f"{summary.reject_share:.1%} of the images fell out, more than --max-reject-share {max_reject_share:.1%}; "
            f"the reasons are in {summary.database.store.url}/rejects"
        )


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
    print_findings(findings)
    if findings:
        sys.exit(1)


@proposals.command("stats")
@click.argument("path")
@click.option("--parts", help="Annotated parts: a folder in PartImageNet's layout, or 'demo'.")
@click.option("--limit-objects", type=click.IntRange(min=1), help="A seeded choice of so many objects with parts.")
@click.option("--seed", default=0, help="Seed of that choice and of the random partitions.")
def stats_command(path: str, parts: str | None, limit_objects: int | None, seed: int) -> None:
    """Counts by kind and granularity; with --parts, the recall of annotated parts against random partitions."""
    database = open_proposals(path)
    recall = None
    if parts is not None:
        parts_of = demo_parts if parts == "demo" else open_parts(parts)
        recall = part_recall(database, parts_of, limit_objects, seed)
    print_stats(database, recall)


if __name__ == "__main__":
    main()
