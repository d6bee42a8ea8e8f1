"""``agg database diff``: what differs between two proposal databases."""

from __future__ import annotations

import sys

import cloup

from agg_pipeline.cli.contents import check_elsewhere, roots_of
from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import Count
from agg_pipeline.cli.places import PLACE
from agg_pipeline.report.printed import say


@cloup.command(
    "diff",
    epilog=examples(
        "agg database diff runs/ours runs/theirs",
        "agg database diff runs/a runs/b --data ~/SBD --out runs/a-and-b",
    ),
)
@cloup.argument("first", type=PLACE, help="Proposal database, or the output folder of a run.")
@cloup.argument("second", type=PLACE, help="Database to compare it with.")
@option(
    "--data",
    "roots",
    multiple=True,
    type=PLACE,
    metavar="NAME:FOLDER",
    show_default="none; the page shows outlines without photographs",
    help="Root folder of the data set, for the pictures. Repeat it, with the names of the data sets, if there are "
    "several.",
)
@option("--out", type=PLACE, metavar="FOLDER", show_default="none", help="Folder that the page is written to.")
@option("--pictures", default=12, type=Count(0), metavar="MASKS", help="Pictures of each kind of difference.")
def diff_command(first: str, second: str, roots: tuple[str, ...], out: str | None, pictures: int) -> None:
    """Compare two databases.

    Images are matched by the sha256 of their file, or else by their ids; objects by an IoU above 0.98. Of the masks of
    an object, equal ones are matched first; the others by their ids, or else by their IoU, if the IoU is above 0.5.
    With --out, a page shows the largest differences. The exit code is 1 if the databases differ.
    """
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.database.differences import compare
    from agg_pipeline.database.reader import open_proposals
    from agg_pipeline.report.difference_page import difference_tables, write_differences
    from agg_pipeline.report.terminal import print_rows
    from agg_pipeline.storage.store import Store
    from schemas.errors import UserError

    if roots and out is None:
        raise UserError("--data is for the pictures; give --out FOLDER, in which their page is written")
    databases = open_proposals(first), open_proposals(second)
    if out is not None:
        check_elsewhere(out, databases)
    named = roots_of(roots, databases)
    found = compare(*databases, examples=0 if out is None else pictures)
    for number, database in zip(("first", "second"), databases, strict=True):
        say(f"{number}: {database.store.url}")
    for line in found.configuration:
        say(line)
    for table in difference_tables(found):
        print_rows(table.title, table.head, table.rows)
    if out is not None:
        page = write_differences(databases, found, named, Store(out).anchored())
        say(closing_line(out, page))
    say("the databases differ" if found.any else "the databases have the same content")
    if found.any:
        sys.exit(1)
