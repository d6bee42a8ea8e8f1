"""``difference.html``: in what two proposal databases differ, with pictures of the largest differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from agg_pipeline.database.difference_counts import Differences, Example, Spread
from agg_pipeline.database.matching import MATCHED
from agg_pipeline.database.reader import ProposalDatabase, crop_of
from agg_pipeline.datasets.found_photographs import Root, found_pixels
from agg_pipeline.figures.svg import View, view_of, widened
from agg_pipeline.report.index_page import index_links
from agg_pipeline.report.templates import filled
from agg_pipeline.report.text_table import Table
from agg_pipeline.storage.store import Store
from schemas.canonical import Row
from schemas.crop import MaskCrop, enclosing

PAGE = "difference.html"
DRAWING = (220, 260)
"""Largest height and width of a picture, CSS pixels."""
MARGIN = 0.12
"""Margin around the masks, as a share of its longer side."""


@dataclass(frozen=True)
class Picture:
    """A mask that differs, as drawn.

    Attributes:
        title: class, kind and id of the mask.
        facts: the difference in words.
        view: part of the image that is drawn.
        photograph: data URI of that part; "" if the image was not found.
        first, second: SVG path of the mask in each database; "" where it is missing.
    """

    title: str
    facts: str
    view: View
    photograph: str
    first: str
    second: str


def difference_tables(found: Differences) -> list[Table]:
    """What differs, as tables; tables in which nothing differs are left out, except the first."""
    tallies = {"images": found.images, **found.rows, "rejects": found.rejects}
    rows = [
        (name, str(tally.both), str(tally.only_a), str(tally.only_b))
        for name, tally in tallies.items()
        if tally.both or tally.differs or name == "images"
    ]
    tables = [Table("Content", ("", "in both", "only in the first", "only in the second"), tuple(rows))]
    if found.ious.number:
        tables.append(Table("IoU of masks that differ", ("IoU", "masks"), _spread(found.ious, f"{MATCHED:g}")))
    if found.granularities.number:
        title = "Granularities that differ"
        tables.append(Table(title, ("difference", "masks"), _spread(found.granularities, "0")))
    if found.columns:
        names = sorted(found.columns.items())
        other = tuple((f"{column} of {table}", str(count)) for (table, column), count in names)
        tables.append(Table("Other columns that differ", ("column", "rows"), other))
    return tables


def _spread(spread: Spread, first: str) -> tuple[tuple[str, ...], ...]:
    """The counts of a spread of values from ``first`` to 1, and the mean of the values."""
    edges = [first, *(f"{edge:g}" for edge in spread.edges), "1"]
    names = [f"{low} to {high}" for low, high in pairwise(edges)]
    counts = [(name, str(count)) for name, count in zip(names, spread.counts, strict=True)]
    return (*counts, ("mean", f"{spread.total / spread.number:.4f}"))


def write_differences(
    databases: Sequence[ProposalDatabase], found: Differences, roots: Sequence[Root], store: Store
) -> str:
    """Write the page, which is self-contained.

    A mask whose image is not found, or has changed, is drawn without the photograph.

    Args:
        databases: the two databases.
        found: in what they differ.
        roots: root folders in which the images are looked for.
        store: folder of the page.

    Returns:
        Path of the page.

    Raises:
        StorageError: the page cannot be written.
        UserError: a mask is damaged.
    """
    groups = {
        "Masks that differ most": found.changed,
        "Granularities that differ most": found.regraded,
        "Largest masks that only the first has": found.only_a,
        "Largest masks that only the second has": found.only_b,
    }
    pictures = {title: [_picture(example, roots) for example in group.kept] for title, group in groups.items()}
    page = filled(
        "difference.html.j2",
        names=[database.store.url for database in databases],
        configuration=found.configuration,
        tables=difference_tables(found),
        differs=found.any,
        groups={title: drawn for title, drawn in pictures.items() if drawn},
        links=index_links(store),
    )
    store.write(PAGE, page.encode())
    return f"{store.url}/{PAGE}"


def _picture(example: Example, roots: Sequence[Root]) -> Picture:
    first, second = (None if row is None else crop_of(row, row["proposal_id"]) for row in (example.a, example.b))
    masks = [mask for mask in (first, second) if mask is not None]
    box = masks[0].box if len(masks) == 1 else enclosing(masks[0].box, masks[1].box)
    view = view_of(widened(box, MARGIN, masks[0].height, masks[0].width), *DRAWING)
    size = masks[0].height, masks[0].width
    pixels = found_pixels(example.dataset, example.path, example.sha256, size, roots)
    return Picture(
        title=f"{example.row['kind']} · {example.row['proposal_id']}",
        facts=_facts(example),
        view=view,
        photograph="" if pixels is None else view.photograph(pixels),
        first=_outline(view, first),
        second=_outline(view, second),
    )


def _outline(view: View, mask: MaskCrop | None) -> str:
    return "" if mask is None else view.outline(mask)


def _facts(example: Example) -> str:
    def said(row: Row) -> str:
        return f"{row['area']} pixels, granularity {row['granularity']:.3f}"

    if example.a is None or example.b is None:
        return said(example.row)
    return f"IoU {example.iou:.3f} · first: {said(example.a)} · second: {said(example.b)}"
