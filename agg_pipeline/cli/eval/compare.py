"""``agg eval compare``: results beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cloup

from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import Choice
from agg_pipeline.cli.places import PLACE
from agg_pipeline.report.printed import say
from schemas.errors import UserError
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.evaluation.results_folder import Results
    from agg_pipeline.report.text_table import Table


@cloup.command(
    "compare",
    epilog=examples(
        "agg eval compare runs/demo/base runs/demo/optimal --out runs/demo/both",
        "agg eval compare runs/a runs/b --name base --name ours --with-published --format latex",
    ),
)
@cloup.argument("results", nargs=-1, required=True, type=PLACE, help="Folders of results; the first is the reference.")
@option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    show_default="the part of the folder's path that tells it from the others",
    help="Name of a row of the table. Give it once per folder, in the order of the folders.",
)
@option("--intersect", is_flag=True, help="Compare only the masks that all results have.")
@option("--with-published", is_flag=True, help="Add the paper's rows to the tables, marked as published.")
@option("--format", "form", default="text", type=Choice(["text", "markdown", "latex"]), help="Format of the tables.")
@option(
    "--out",
    type=PLACE,
    metavar="FOLDER",
    show_default="none",
    help="Folder that a page with charts and tables, comparison.html, is written to.",
)
def compare_command(
    results: tuple[str, ...],
    names: tuple[str, ...],
    intersect: bool,
    with_published: bool,
    form: str,
    out: str | None,
) -> None:
    """Put results into one table.

    Below the figures are the differences from the first results, with paired intervals. With --out, a page shows them
    with charts.
    """
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.evaluation.compare import comparison, row_names, same_masks, without_published
    from agg_pipeline.evaluation.results_folder import open_results
    from agg_pipeline.report.terminal import print_rows
    from agg_pipeline.report.text_table import latex, markdown

    if names and len(names) != len(results):
        raise UserError(
            f"{plural(len(names), 'name')} for {len(results)} folders of results; give --name once per folder"
        )
    opened = same_masks([open_results(path) for path in results], intersect)
    named = [replace(each, name=name) for each, name in zip(opened, names or row_names(results), strict=True)]
    tables = comparison(named, with_published)
    if form == "text":
        for table in tables:
            print_rows(table.title, table.head, table.rows, table.rules)
    else:
        say((markdown if form == "markdown" else latex)(tables).removesuffix("\n"))
    for line in without_published(named) if with_published else ():
        say(line, err=True)
    if out is not None:
        say(closing_line(out, _written(out, named, tables)), err=form != "text")


def _written(out: str, named: Sequence[Results], tables: Sequence[Table]) -> str:
    """Write the page, and return its path."""
    from agg_pipeline.evaluation.comparison_page import PAGE, comparison_page
    from agg_pipeline.report.index_page import index_links
    from agg_pipeline.storage.store import Store

    store = Store(out).anchored()
    names = ", ".join(each.name for each in named)
    store.write(PAGE, comparison_page(named, tables, index_links(store), names).encode())
    return f"{store.url}/{PAGE}"
