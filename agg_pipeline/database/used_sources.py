"""The runs that rows of a database are from: its plan may list others, of which no row is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.derived import Piece
from agg_pipeline.database.reader import ProposalDatabase
from schemas.tables import FILES, SOURCE


def used_sources(database: ProposalDatabase) -> list[int]:
    """Numbers of the sources that rows of a database are from, in order; nothing else is read."""
    number = len(database.sources)
    if number == 1:
        return [0]
    names = [(name, index) for index in database.sidecars for name in FILES]
    return sources_in((database.table(name, [SOURCE.name], [index]) for name, index in names), number)


def sources_of(some: Iterable[Piece], number: int) -> list[int]:
    """Numbers of the sources that rows of pieces are from, as of ``sources_in``."""
    return sources_in((table for piece in some for table in piece.tables.values()), number)


def sources_in(tables: Iterable[pa.Table], number: int) -> list[int]:
    """Numbers of the sources that rows are from.

    Args:
        tables: tables with the column ``source``. They are read until all sources are found.
        number: number of the sources.

    Returns:
        The numbers in order.
    """
    found: set[int] = set()
    for table in tables:
        found.update(pc.unique(table[SOURCE.name]).to_pylist())
        if len(found) == number:
            break
    return sorted(found)


def renumbered(piece: Piece, numbers: Mapping[int, int]) -> Piece:
    """A piece whose rows have other numbers of their sources.

    Args:
        piece: the piece.
        numbers: the new number of each source that rows are from.
    """
    return Piece(piece.images, {name: with_numbers(table, numbers) for name, table in piece.tables.items()})


def with_numbers(table: pa.Table, numbers: Mapping[int, int]) -> pa.Table:
    """A table whose rows have other numbers of their sources, as of ``renumbered``."""
    old = table[SOURCE.name].to_numpy()
    new = np.array([numbers.get(number, 0) for number in range(old.max(initial=0) + 1)], np.int32)
    return table.set_column(table.schema.get_field_index(SOURCE.name), SOURCE, pa.array(new[old], SOURCE.type))
