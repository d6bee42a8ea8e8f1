"""``agg eval table``: results in the paper's table."""

from __future__ import annotations

import cloup

from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import Choice
from agg_pipeline.cli.places import PLACE
from agg_pipeline.report.printed import say
from schemas.errors import UserError
from schemas.words import plural


@cloup.command(
    "table",
    epilog=examples(
        "agg eval table runs/grabcut/base runs/grabcut/random-walker",
        "agg eval table runs/sbd runs/davis --name ours --name ours --format latex",
    ),
)
@cloup.argument("results", nargs=-1, required=True, type=PLACE, help="Folders of results, of any data sets.")
@option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    show_default="model and mode of the evaluation",
    help="Name of a method. Give it once per folder; folders of one name are one row.",
)
@option("--table", "number", default="1", type=Choice(["1", "2"]), help="Which table of the paper.")
@option("--format", "form", default="text", type=Choice(["text", "markdown", "latex"]), help="Format of the table.")
def table_command(results: tuple[str, ...], names: tuple[str, ...], number: str, form: str) -> None:
    """Put results among the rows of the paper's table.

    The numbers of the paper are those that it prints; ours come from the given folders, with the seconds per click
    (SPC) and the number of weights of each model.
    """
    from agg_pipeline.evaluation.table_of_paper import measured_row, paper_table
    from agg_pipeline.report.terminal import print_rows
    from agg_pipeline.report.text_table import latex, markdown

    if names and len(names) != len(results):
        raise UserError(
            f"{plural(len(names), 'name')} for {len(results)} folders of results; give --name once per folder"
        )
    rows = [measured_row(path, name) for path, name in zip(results, names or [None] * len(results), strict=True)]
    table = paper_table(rows, int(number))
    if form == "text":
        print_rows(table.title, table.head, table.rows, table.rules)
    else:
        say((markdown if form == "markdown" else latex)([table]).removesuffix("\n"))
