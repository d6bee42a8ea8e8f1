"""The photographs of a database, where their files can be found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.plan import layout_of
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json, Row
from schemas.errors import UserError
from schemas.paths import stays_inside
from schemas.words import excerpt

Roots = Mapping[str, str]
"""Root folders of data sets by the name of the data or of their layout; "" for those that have no name of their own."""
NONE: Roots = MappingProxyType({})
"""No root folder."""
Photographs = Callable[[Row], bytes]
"""The file of an image, by its row of ``images``."""


def photographs(database: ProposalDatabase, roots: Roots) -> Photographs | None:
    """Where the photographs of a database are found; None if no root is given.

    Raises:
        UserError: a root is of no data set of the database.
    """
    if not roots:
        return None
    layouts_of(roots, [database])
    stores = [_store(source, roots) for source in database.sources]

    def photograph(image: Row) -> bytes:
        number = image.get("source", 0)
        store = stores[number]
        if store is None:
            name = database.sources[number]["dataset"]["name"]
            raise UserError(
                f"the photographs of {name} are needed, too; give their root folder as --data {name}:FOLDER"
            )
        return _photograph(store, image)

    return photograph


def layouts_of(names: Iterable[str], databases: Sequence[ProposalDatabase]) -> dict[str, str]:
    """The layout of the data that each name is of: a name of data or of a layout in the databases, or "".

    Raises:
        UserError: a name is none of these.
    """
    known = {"": ""}
    for source in (source for database in databases for source in database.sources):
        known |= {name: layout_of(source) for name in (str(source["dataset"]["name"]), layout_of(source))}
    wanted = list(names)
    for name in wanted:
        if name not in known:
            raise UserError(f"--data names {name!r}, but the databases are of {', '.join(sorted(known.keys() - {''}))}")
    return {name: known[name] for name in wanted}


def _store(source: Json, roots: Roots) -> Store | None:
    for name in (str(source["dataset"]["name"]), layout_of(source), ""):
        if name in roots:
            return Store(roots[name]).anchored()
    return None


def _photograph(store: Store, image: Row) -> bytes:
    """The file of an image.

    Args:
        store: root of the data set.
        image: its row of ``images``.

    Raises:
        UserError: the file is missing, or another one than the masks were made of.
    """
    path = image["path"]
    where = f"{store.url}/{excerpt(path)}"
    if not stays_inside(path):
        raise UserError(
            f"image {excerpt(image['image_id'])} has the path {excerpt(path)}, which leads out of the data set"
        )
    try:
        content = store.read(path, limits.IMAGE_FILE_BYTES)
    except FileNotFoundError:
        raise UserError(f"{where} does not exist; give the root folder of its data set as --data") from None
    if image["sha256"] and hashlib.sha256(content).hexdigest() != image["sha256"]:
        raise UserError(f"{where} is another file than the one that the masks were made of: its sha256 differs")
    return content
