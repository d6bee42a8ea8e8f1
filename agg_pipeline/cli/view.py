"""``agg view``: a page that shows proposal databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cloup

from agg_pipeline.cli.contents import roots_of
from agg_pipeline.cli.option_groups import examples, gathered, option, options_of
from agg_pipeline.cli.places import PLACE
from agg_pipeline.cli.serving import Serving, check_serving, serve_page
from schemas.errors import UserError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MOST = 8
"""Most databases of a page."""


@cloup.command(
    "view",
    epilog=examples("agg view runs/demo", "agg view runs/ours runs/theirs --data ~/SBD"),
)
@cloup.argument("paths", nargs=-1, required=True, type=PLACE, help="Proposal databases, or output folders of runs.")
@option(
    "--data",
    "roots",
    multiple=True,
    type=PLACE,
    metavar="NAME:FOLDER",
    show_default="none; masks are drawn on grey",
    help="Root folder of the data set, for the photographs. Repeat it, with the names of the data sets, if there are "
    "several.",
)
@cloup.option_group("Page", *options_of(Serving))
@gathered(serving=Serving)
def group(paths: tuple[str, ...], roots: tuple[str, ...], serving: Serving) -> None:
    """Look at the masks of proposal databases in the browser."""
    check_serving(serving)
    if len(paths) > MOST:
        raise UserError(f"a page shows up to {MOST} databases")

    def make() -> ASGIApp:
        from agg_pipeline.database.reader import open_proposals
        from agg_pipeline.web.browsed_rows import BrowsedRows
        from agg_pipeline.web.view_app import Browsed, ViewApp

        databases = [open_proposals(path) for path in paths]
        found = roots_of(roots, databases)
        shown = [Browsed(each.store.url, each, BrowsedRows(each), found) for each in databases]
        return ViewApp(shown).app()

    serve_page(make, serving)
