"""Statistics of a proposal database: an HTML page, and a picture of histograms."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from agg_pipeline.database.counts import by_kind_and_bin
from agg_pipeline.database.description import description
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.figures.colours import COLOURS, KINDS
from agg_pipeline.proposals.recall import THRESHOLDS, PartRecall
from agg_pipeline.report.index_page import index_links
from agg_pipeline.report.plots import bare_frame, inline_svg, new_figure, png
from agg_pipeline.report.templates import filled
from agg_pipeline.storage.store import Store
from schemas.numbers import BINS
from schemas.tables import REASONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = ("scale", "semantic", "granularity")
"""Columns that are shown as histograms."""
BARS = 20
"""Bars of a histogram over [0, 1]."""


def write_statistics(database: ProposalDatabase, recall: PartRecall | None, store: Store) -> None:
    """Write ``stats.html``, a self-contained page, and ``stats.png``.

    Args:
        database: the database.
        recall: recall of annotated parts; None if it was not measured.
        store: folder of both files.
    """
    table = database.proposals(["kind", "bin", *MEASURES])
    figure = histograms(table)
    page = filled(
        "statistics.html.j2",
        links=index_links(store, {"gallery.html": "Gallery"}),
        plan=database.plan,
        about=description(database.plan),
        shards=len(database.sidecars),
        counts=by_kind_and_bin(table),
        bins=BINS,
        rejects=Counter(database.rejects()["reason"].to_pylist()),
        reasons=REASONS,
        histograms=inline_svg(figure, "histograms", f"Histograms of {', '.join(MEASURES)} by kind of mask"),
        recall=recall,
        thresholds=THRESHOLDS,
    )
    store.write("stats.png", png(figure))
    store.write("stats.html", page.encode())


def histograms(table: pa.Table) -> Figure:
    """Draw the histograms of scale, semantic and granularity by kind.

    Args:
        table: rows of ``proposals``; objects, whose values are 1, are left out.
    """
    kinds = table["kind"].to_numpy(zero_copy_only=False)
    shown = [kind for kind in KINDS if kind != "object" and (kinds == kind).any()]
    figure = new_figure(12, 3.6)
    for axes, name in zip(figure.subplots(1, len(MEASURES), sharey=True), MEASURES, strict=True):
        values = table[name].to_numpy()
        axes.hist(
            [values[kinds == kind] for kind in shown] or [[]],
            bins=np.linspace(0, 1, BARS + 1),
            stacked=True,
            color=[COLOURS[kind].light for kind in shown] or None,
            label=shown or None,
        )
        axes.set_xlabel(name)
        bare_frame(axes)
    figure.axes[0].set_ylabel("masks")
    if shown:
        figure.axes[-1].legend(frameon=False)
    return figure
