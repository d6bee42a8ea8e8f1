"""A database in the format of another program, by its name."""

from __future__ import annotations

from pathlib import Path

from agg_pipeline.database.exchange.coco_export import export_coco
from agg_pipeline.database.exchange.hf_export import export_hf
from agg_pipeline.database.exchange.own_facts import added_columns
from agg_pipeline.database.exchange.photographs import NONE, Roots
from agg_pipeline.database.exchange.png_export import export_png
from agg_pipeline.database.exchange.released_pickle import export_released
from agg_pipeline.database.exchange.sa1b_exchange import export_sa1b
from agg_pipeline.database.exchange.webdataset_export import export_webdataset
from agg_pipeline.database.reader import ProposalDatabase

CUT = "the rejects, the runs and commands behind the database"
"""What is lost by formats that hold only masks and their columns."""
WITH_PHOTOGRAPHS = "plan, manifest, croissant.json and checksums, which are those of the tables without photographs"
"""What hf loses with photographs."""
LOST: dict[str, tuple[str, ...]] = {
    "coco": (),
    "sa1b": (),
    "released": (
        "the object masks",
        "images without parts",
        "kinds, steps, ids, classes and labels",
        "peaks and clicks",
        "granularities beyond one decimal",
        "hashes and licences of the images",
        CUT,
    ),
    "png": ("peaks and clicks", "images without masks", CUT),
    "webdataset": (CUT,),
    "hf": (),
}
"""What each format cannot hold."""


def export_database(
    database: ProposalDatabase, kind: str, out: Path, polygons: bool = False, roots: Roots = NONE
) -> list[str]:
    """Write a database in the format of another program.

    Args:
        database: the database.
        kind: name of the format, a key of ``LOST``.
        out: path of the new file or folder.
        polygons: whether masks in coco are polygons.
        roots: root folders of the data sets with the photographs, for webdataset and hf; none to leave them out.

    Returns:
        What is lost, in words.

    Raises:
        UserError: the place is taken, or the database or a photograph is damaged.
    """
    match kind:
        case "coco":
            export_coco(database, out, polygons)
        case "sa1b":
            export_sa1b(database, out)
        case "released":
            export_released(database, out)
        case "png":
            export_png(database, out)
        case "webdataset":
            export_webdataset(database, out, roots)
        case "hf":
            export_hf(database, out, roots)
        case _:
            raise AssertionError(kind)
    added = [] if kind == "hf" else added_columns(database)
    without = [WITH_PHOTOGRAPHS] if kind == "hf" and roots else []
    return [*LOST[kind], *without, *([f"the columns {', '.join(added)}"] if added else [])]
