"""``agg proposals``: make, check and describe proposal databases."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloup

from agg_pipeline.cli.config_options import config_options, configured, preset_option, read_toml, resolve
from agg_pipeline.cli.dry_run import NOTHING_WRITTEN, comment, print_config, print_run, seconds_so_far
from agg_pipeline.cli.option_groups import Command, Decorator, examples, gathered, option, options_of
from agg_pipeline.cli.options import CHECKPOINT, PLACE, Count, Data, Run, model_file
from agg_pipeline.cli.run_log import logged, warn_each
from agg_pipeline.cli.start_and_stop import recorded
from agg_pipeline.report.printed import say
from schemas.config import PRESETS, ProposalsConfig, Source
from schemas.errors import UserError
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.datasets.dataset import Dataset
    from agg_pipeline.proposals.run import Summary
    from agg_pipeline.storage.store import Store

GALLERY = "gallery.html"
"""Name of the page of a run."""


@cloup.group("proposals")
def group() -> None:
    """Make, check and describe proposal databases (AGG)."""


def _run_options(*clicks: Decorator) -> Decorator:
    """The options of run and annotate. clicks: those of the simulated clicks."""

    def decorated(command: Command) -> Command:
        gallery = option(
            "--gallery-images",
            default=12,
            type=Count(0),
            metavar="IMAGES",
            help="Images in the gallery. 0: no picture.",
        )
        command = configured(gathered(data=Data, run=Run)(command))
        run = (*options_of(Run), preset_option(PRESETS), *config_options(PRESETS, "seed", "batch"), gallery)
        command = cloup.option_group("Run", *run)(command)
        if clicks:
            command = cloup.option_group("Clicks", *clicks)(command)
        command = cloup.option_group("Model", CHECKPOINT, *config_options(PRESETS, "predictor"))(command)
        return cloup.option_group("Data set", *options_of(Data))(command)

    return decorated


@group.command(
    "run",
    epilog=examples(
        "agg proposals run --out runs/demo",
        "agg proposals run --dataset sbd --data ~/sbd --checkpoint base.pth --out runs/sbd",
    ),
)
@_run_options(*config_options(PRESETS, "loop"))
def run_command(
    data: Data, checkpoint: str | None, preset: str | None, gallery_images: int, run: Run, settings: dict[str, Any]
) -> None:
    """Turn a data set into a proposal database.

    AGG drives a click model with simulated clicks on every object mask. Run the same command again to resume.
    """
    _run("agg", data, checkpoint, preset, gallery_images, run, settings)


@group.command(
    "annotate",
    epilog=examples(
        "agg proposals annotate --out runs/demo-parts",
        "agg proposals annotate --dataset pascal_part --data ~/VOC2010 --out runs/parts",
    ),
)
@_run_options()
def annotate_command(
    data: Data, checkpoint: str | None, preset: str | None, gallery_images: int, run: Run, settings: dict[str, Any]
) -> None:
    """Turn annotated parts into a proposal database.

    The masks are those of the data set; the model only estimates their granularity. Run the same command again to
    resume.
    """
    _run("gt", data, checkpoint, preset, gallery_images, run, settings)


def _run(
    source: Source,
    data: Data,
    checkpoint: str | None,
    preset: str | None,
    gallery_images: int,
    run: Run,
    settings: dict[str, Any],
) -> None:
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.datasets.selection import nothing_selected, unmatched_classes
    from agg_pipeline.proposals.run import check_lost_images, prepare
    from agg_pipeline.proposals.run import run as run_proposals
    from agg_pipeline.proposals.summary_tables import print_summary
    from agg_pipeline.report.progress import RunProgress
    from agg_pipeline.storage.store import Store

    with recorded(run.out, run.overwrite) as log:
        config = replace(_config(preset, run.config, settings), source=source)
        dataset = data.open()
        if source == "gt":
            _check_parts(dataset)
        if run.dry_run:
            print_config(config)
            print_run(*prepare(dataset, model_file(checkpoint), config, run.options), run.options, seconds_so_far())
            comment(NOTHING_WRITTEN)
            return
        # Before threads of the run are there, because images are read in copies of this process.
        unmatched = unmatched_classes(dataset, run.limit_images)
        page, progress = Store(run.out).below("report"), RunProgress()

        def report(summary: Summary, check: Callable[[], None]) -> None:
            progress.close()
            print_summary(summary)
            if (data.classes or data.skip_classes) and not summary.manifest["totals"]["objects"]:
                raise nothing_selected(dataset)
            _write_report(summary, dataset, page, gallery_images, check)

        try:
            callbacks = logged(progress.callbacks(), log)
            summary = run_proposals(dataset, model_file(checkpoint), config, run.options, callbacks, report)
        finally:
            progress.close()
        warn_each(unmatched)
        say(closing_line(run.out, f"{page.url}/{GALLERY}"))
        check_lost_images(summary, run.max_reject_share)


def _config(preset: str | None, path: Path | None, settings: dict[str, Any]) -> ProposalsConfig:
    if path is not None and "source" in read_toml(path):
        raise UserError(
            f"{path} sets the key source; remove it, because agg proposals run and annotate set it themselves"
        )
    return resolve(PRESETS, preset, path, settings)


def _check_parts(dataset: Dataset) -> None:
    """UserError if a data set has no annotated parts."""
    from agg_pipeline.datasets.parts import WITH_PARTS

    if dataset.name not in WITH_PARTS:
        raise UserError(f"data set {dataset.name} has no annotated parts; {', '.join(WITH_PARTS)} have")


def _write_report(summary: Summary, dataset: Dataset, store: Store, images: int, check: Callable[[], None]) -> None:
    """Gallery and timings, beside the database and not in it. check: raises UserError if it is another run's by now."""
    from agg_pipeline.report.gallery import write_gallery

    if summary.images_done:
        timings = {"images": summary.images_done, "seconds": summary.seconds, **asdict(summary.times)}
        check()
        store.write_json("timings.json", timings)
    seed = summary.manifest["plan"]["seed"]
    shown = write_gallery(summary.database, dataset, store, GALLERY, images, seed, check)
    say(f"{store.url}/{GALLERY} shows {plural(shown, 'image')}; the database is {summary.database.store.url}")


DATABASE = cloup.argument("path", type=PLACE, help="Proposal database, or the output folder of a run.")


@group.command("status", epilog=examples("agg proposals status runs/demo", "agg proposals status s3://bucket/runs/sbd"))
@DATABASE
def status_command(path: str) -> None:
    """Show how far a run is, and whether one is running."""
    from agg_pipeline.database.reader import inspect_proposals
    from agg_pipeline.database.status import status
    from agg_pipeline.proposals.summary_tables import print_status

    print_status(status(inspect_proposals(path)))


@group.command(
    "validate", epilog=examples("agg proposals validate runs/demo", "agg proposals validate runs/demo/database")
)
@DATABASE
def validate_command(path: str) -> None:
    """Check that a database is intact.

    Checksums, schemas, ids, masks, numbers and references are checked. The exit code is 1 if something is wrong.
    """
    from agg_pipeline.database.reader import inspect_proposals
    from agg_pipeline.database.validation import validate
    from agg_pipeline.report.terminal import print_findings

    findings = list(validate(inspect_proposals(path)))
    print_findings(findings, "the database is valid")
    if findings:
        sys.exit(1)


@group.command(
    "stats",
    epilog=examples(
        "agg proposals stats runs/demo",
        "agg proposals stats runs/sbd --parts pascal_part:~/VOC2010 --limit-objects 500",
    ),
)
@DATABASE
@option(
    "--parts",
    type=PLACE,
    metavar="NAME:FOLDER",
    show_default="none; no recall is measured",
    help="Annotated parts whose recall is measured: name and root folder of a data set, demo, or only a folder in the "
    "layout of PartImageNet.",
)
@option(
    "--limit-objects",
    type=Count(1),
    metavar="OBJECTS",
    show_default="all",
    help="Measure the recall on this many objects with parts, drawn by the seed.",
)
@option("--seed", default=0, metavar="NUMBER", help="Seed of the choice of objects and of the random partitions.")
@option(
    "--out",
    type=PLACE,
    metavar="FOLDER",
    show_default="the folder report beside the database",
    help="Folder that page and picture are written to.",
)
def stats_command(path: str, parts: str | None, limit_objects: int | None, seed: int, out: str | None) -> None:
    """Show what a database contains, in numbers and histograms.

    Masks are counted per kind and granularity, rejects per reason. With --parts, the recall is measured too: the share
    of annotated parts that the proposals cover, beside the share that random partitions of the objects cover.
    """
    from agg_pipeline.database.reader import open_proposals
    from agg_pipeline.datasets.parts import open_parts
    from agg_pipeline.proposals.recall import part_recall
    from agg_pipeline.proposals.statistics_page import write_statistics
    from agg_pipeline.proposals.summary_tables import print_stats
    from agg_pipeline.storage.store import Store

    database = open_proposals(path)
    recall = None
    if parts is not None:
        recall = part_recall(database, open_parts(parts), limit_objects, seed)
    print_stats(database, recall)
    store = Store(out) if out else database.store.anchored().beside("report")
    write_statistics(database, recall, store)
    say(f"open {store.url}/stats.html; the histograms are also in stats.png beside it")
