"""``agg database``: check, describe and combine proposal databases."""

from __future__ import annotations

import sys

import cloup

from agg_pipeline.cli.combining import COMBINING
from agg_pipeline.cli.contents import check_elsewhere
from agg_pipeline.cli.difference import diff_command
from agg_pipeline.cli.exchange import export_command, import_command
from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import Count
from agg_pipeline.cli.places import PLACE
from agg_pipeline.cli.publishing import COMMANDS
from agg_pipeline.report.printed import say


@cloup.group("database")
def group() -> None:
    """Check, describe and combine proposal databases."""


DATABASE = cloup.argument("path", type=PLACE, help="Proposal database, or the output folder of a run.")


@group.command("status", epilog=examples("agg database status runs/demo", "agg database status s3://bucket/runs/sbd"))
@DATABASE
def status_command(path: str) -> None:
    """Show how far a run is, and whether one is running."""
    from agg_pipeline.database.reader import inspect_proposals
    from agg_pipeline.database.status import status
    from agg_pipeline.proposals.summary_tables import print_status

    print_status(status(inspect_proposals(path)))


@group.command(
    "validate", epilog=examples("agg database validate runs/demo", "agg database validate runs/demo/database")
)
@DATABASE
@option(
    "--expect",
    "expected",
    metavar="HASH",
    show_default="any",
    help="Identity that the database must have, as agg database id prints it.",
)
def validate_command(path: str, expected: str | None) -> None:
    """Check that a database is intact.

    Checksums, schemas, ids, masks, numbers and references are checked. The exit code is 1 if something is wrong.
    """
    from agg_pipeline.database.identity import database_id
    from agg_pipeline.database.reader import inspect_proposals
    from agg_pipeline.database.validation import validate
    from agg_pipeline.report.terminal import print_findings
    from schemas.errors import UserError
    from schemas.findings import Finding

    database = inspect_proposals(path)
    findings = list(validate(database))
    if expected is not None:
        try:
            found = database_id(database)
        except UserError:
            found = "that cannot be computed"
        if found != expected.lower():
            findings.append(Finding(database.store.url, f"has the identity {found}, not the expected one"))
    print_findings(findings, "the database is valid")
    if findings:
        sys.exit(1)


@group.command(
    "stats",
    epilog=examples(
        "agg database stats runs/demo",
        "agg database stats runs/sbd --parts pascal_part:~/VOC2010 --limit-objects 500",
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
    show_default="the folder report beside the database; NAME-report beside a database NAME that is of no run; none "
    "for a database on another machine",
    help="Folder that page and picture are written to.",
)
def stats_command(path: str, parts: str | None, limit_objects: int | None, seed: int, out: str | None) -> None:
    """Show what a database contains, in numbers and histograms.

    Masks are counted per kind and granularity, rejects per reason. With --parts, the recall is measured too: the share
    of annotated parts that the proposals cover, beside the share that random partitions of the objects cover.
    """
    from agg_pipeline.database.contents import DATABASE
    from agg_pipeline.database.reader import open_proposals
    from agg_pipeline.datasets.parts import open_parts
    from agg_pipeline.proposals.recall import part_recall
    from agg_pipeline.proposals.statistics_page import write_statistics
    from agg_pipeline.proposals.summary_tables import print_stats
    from agg_pipeline.storage.store import Store

    database = open_proposals(path)
    if out is not None:
        check_elsewhere(out, [database])
    recall = None
    if parts is not None:
        recall = part_recall(database, open_parts(parts), limit_objects, seed)
    print_stats(database, recall)
    if out is None and not database.store.is_local():
        say("no page was written; give a folder as --out for one")
        return
    place = database.store.anchored()
    name = place.url.rstrip("/").rpartition("/")[2]
    store = Store(out) if out else place.beside("report" if name == DATABASE else f"{name}-report")
    write_statistics(database, recall, store)
    say(f"open {store.url}/stats.html; the histograms are also in stats.png beside it")


@group.command("id", epilog=examples("agg database id runs/demo", "agg database id s3://bucket/databases/sbd"))
@DATABASE
def id_command(path: str) -> None:
    """Print the identity of a database, one hash of its content.

    It depends on all rows and on what made them, and not on shards, workers, compression or the order of the rows. Cite
    it, so that others can check that they have the same database.
    """
    from agg_pipeline.database.identity import database_id
    from agg_pipeline.database.reader import open_proposals

    say(database_id(open_proposals(path)))


@group.command("log", epilog=examples("agg database log runs/merged", "agg database log runs/demo/database"))
@DATABASE
def log_command(path: str) -> None:
    """Show which runs and commands have made a database."""
    from agg_pipeline.database.derived import source_runs
    from agg_pipeline.database.history import history_lines
    from agg_pipeline.database.reader import open_proposals

    database = open_proposals(path)
    for line in history_lines(source_runs(database), database.plan.get("history", [])):
        say(line)


for _command in (*COMBINING, diff_command, export_command, import_command, *COMMANDS):
    group.add_command(_command)
