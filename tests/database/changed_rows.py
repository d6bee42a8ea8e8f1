"""Copies of a database with changed rows."""

from dataclasses import replace

import pyarrow as pa

from agg_pipeline.database.derived import derived_plan, pieces, source_runs, write_derived
from schemas.tables import FILES


def changed(database, out, table, change):
    """A copy of a database whose rows of a table are changed.

    Args:
        database: the database.
        out: folder of the copy.
        table: name of the table.
        change: row -> the row that takes its place, or None to leave it out.
    """

    def made():
        for piece in pieces(database):
            rows = [change(dict(row)) for row in piece.tables[table].to_pylist()]
            kept = pa.Table.from_pylist([row for row in rows if row is not None], FILES[table])
            yield replace(piece, tables={**piece.tables, table: kept})

    plan = derived_plan([database], source_runs(database), "change", {"table": table})
    return write_derived(out, plan, made())
