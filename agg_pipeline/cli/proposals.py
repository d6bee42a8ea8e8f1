"""``agg proposals``: make, check and describe proposal databases."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import cloup

from agg_pipeline.cli.config_options import config_options, configured, preset_option, proposals_config
from agg_pipeline.cli.database import stats_command, status_command, validate_command
from agg_pipeline.cli.dry_run import NOTHING_WRITTEN, comment, print_config, print_run, seconds_so_far
from agg_pipeline.cli.model_options import CHECKPOINT, NAMED, chosen_model
from agg_pipeline.cli.option_groups import Command, Decorator, examples, gathered, option, options_of
from agg_pipeline.cli.options import Called, Count, Data, Run
from agg_pipeline.cli.preview import preview_command
from agg_pipeline.cli.run_log import logged, warn_each
from agg_pipeline.cli.start_and_stop import recorded
from agg_pipeline.report.printed import say
from schemas.config import Source
from schemas.errors import UserError
from schemas.presets import PRESETS
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
        command = configured(gathered(data=Data, called=Called, run=Run)(command))
        run = (*options_of(Run), preset_option(PRESETS), *config_options(PRESETS, "seed", "batch"), gallery)
        command = cloup.option_group("Run", *run)(command)
        if clicks:
            command = cloup.option_group("Clicks", *clicks)(command)
        command = cloup.option_group("Model", CHECKPOINT, NAMED, *config_options(PRESETS, "predictor"))(command)
        return cloup.option_group("Data set", *options_of(Data), *options_of(Called))(command)

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
    data: Data,
    called: Called,
    checkpoint: str | None,
    named: str | None,
    preset: str | None,
    gallery_images: int,
    run: Run,
    settings: dict[str, Any],
) -> None:
    """Turn a data set into a proposal database.

    AGG drives a click model with simulated clicks on every object mask. Run the same command again to resume.
    """
    _run("agg", data, called, (checkpoint, named), preset, gallery_images, run, settings)


@group.command(
    "annotate",
    epilog=examples(
        "agg proposals annotate --out runs/demo-parts",
        "agg proposals annotate --dataset pascal_part --data ~/VOC2010 --out runs/parts",
    ),
)
@_run_options()
def annotate_command(
    data: Data,
    called: Called,
    checkpoint: str | None,
    named: str | None,
    preset: str | None,
    gallery_images: int,
    run: Run,
    settings: dict[str, Any],
) -> None:
    """Turn annotated parts into a proposal database.

    The masks are those of the data set; the model only estimates their granularity. Run the same command again to
    resume.
    """
    _run("gt", data, called, (checkpoint, named), preset, gallery_images, run, settings)


def _run(
    source: Source,
    data: Data,
    called: Called,
    models: tuple[str | None, str | None],
    preset: str | None,
    gallery_images: int,
    run: Run,
    settings: dict[str, Any],
) -> None:
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.datasets.naming import unknown_licence
    from agg_pipeline.datasets.selection import nothing_selected, unmatched_classes
    from agg_pipeline.proposals.run import check_lost_images, prepare
    from agg_pipeline.proposals.run import run as run_proposals
    from agg_pipeline.proposals.summary_tables import print_summary
    from agg_pipeline.report.progress import RunProgress
    from agg_pipeline.storage.store import Store

    with recorded(run.out, run.overwrite) as log:
        config = replace(proposals_config(preset, run.config, settings), source=source)
        model = chosen_model(*models, settings)
        dataset = data.open(naming=called.naming)
        if source == "gt":
            _check_parts(dataset)
        if run.dry_run:
            print_config(config)
            print_run(*prepare(dataset, model, config, run.options, comment), run.options, seconds_so_far())
            for note in unknown_licence(dataset, data.data):
                comment(f"note: {note}")
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
            summary = run_proposals(dataset, model, config, run.options, callbacks, report)
        finally:
            progress.close()
        warn_each(unmatched)
        warn_each(unknown_licence(dataset, data.data))
        say(closing_line(run.out, f"{page.url}/{GALLERY}"))
        check_lost_images(summary, run.max_reject_share)


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


group.add_command(preview_command)
for _command in (status_command, validate_command, stats_command):
    # The names that they had before there was agg database still work.
    _old = copy(_command)
    _old.hidden = True
    group.add_command(_old)
