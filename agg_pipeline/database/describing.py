"""``agg database describe``: change the name, licence, citation and homepage of the data of a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa

from agg_pipeline.database.derived import Piece, derived_plan, pieces, source_runs, write_derived
from agg_pipeline.database.history import changed_run
from agg_pipeline.database.image_licences import joint_licence, stated_licences
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.naming import Naming
from agg_pipeline.execution.plan import layout_of
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.tables import SOURCE


def describe(
    database: ProposalDatabase, out: str, naming: Naming, source: int | None = None, overwrite: bool = False
) -> ProposalDatabase:
    """Write a database with the same masks and another description of its data.

    Args:
        database: the database.
        out: folder of the new one.
        naming: the new texts; what it leaves out stays the same.
        source: number of the run whose data to change; None if there is only one.
        overwrite: whether to replace another database in the folder.

    Raises:
        UserError: the database has no such run, or several and none is chosen.
    """
    runs = source_runs(database)
    if source is None and len(runs) > 1:
        raise UserError(
            f"{database.store.url} has rows of {len(runs)} runs; choose the one whose data to change with "
            "--source NUMBER (agg database log numbers them)"
        )
    number = source or 0
    if number >= len(runs):
        raise UserError(f"--source {number}: {database.store.url} has rows of {len(runs)} runs, numbered from 0")
    said = {key: text for key, text in asdict(naming).items() if text}
    old = [run["dataset"]["licence"] for run in runs]
    # Format 1.0 has the name of the layout as that of the data.
    layout = {"layout": layout_of(runs[number])} if "name" in said else {}
    runs[number] = changed_run(runs[number], {"dataset": {**runs[number]["dataset"], **layout, **said}})
    new = [run["dataset"]["licence"] for run in runs]

    def made() -> Iterator[Piece]:
        for piece in pieces(database):
            images = _licensed(piece.tables["images"], old, new)
            yield Piece(piece.images, {**piece.tables, "images": images})

    options: Json = {"source": number, **said}
    return write_derived(out, derived_plan([database], runs, "describe", options), made(), overwrite=overwrite)


def _licensed(images: pa.Table, old: Sequence[str], new: Sequence[str]) -> pa.Table:
    """Rows of ``images``; those that have the licence of their data set get its new one.

    A licence of an image that several databases have may be that of any of their data sets.
    """
    changes = {before: after for before, after in zip(old, new, strict=True) if before != after}
    pairs = zip(images["licence"].to_pylist(), images[SOURCE.name].to_pylist(), strict=True)
    licences = []
    for text, source in pairs:
        stated = stated_licences(text)
        several = joint_licence(changes.get(licence, licence) for licence in stated)
        licences.append(several if len(stated) > 1 else new[source] if text == old[source] else text)
    place = images.schema.get_field_index("licence")
    return images.set_column(place, images.schema.field(place), pa.array(licences, pa.string()))
