"""How many rows a database has, by kind and granularity bin."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from agg_pipeline.database.contents import SAMPLING_FILE
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.parquet_files import REMAKE, read_table
from schemas.errors import UserError
from schemas.numbers import BINS
from schemas.tables import KINDS, SAMPLING
from schemas.words import excerpt


def by_kind_and_bin(table: pa.Table) -> dict[str, list[int]]:
    """Rows of each bin 1..10, by kind; kinds without rows are left out."""
    kinds = table["kind"].to_numpy(zero_copy_only=False)
    bins = table["bin"].to_numpy()
    counts = {kind: np.bincount(bins[kinds == kind], minlength=BINS + 1)[1:].tolist() for kind in KINDS}
    return {kind: of_bins for kind, of_bins in counts.items() if any(of_bins)}


def finished_counts(database: ProposalDatabase) -> dict[str, list[int]]:
    """Rows of each bin 1..10, by kind; of a database whose run has finished without reading its rows."""
    if not database.store.exists(SAMPLING_FILE):
        return by_kind_and_bin(database.proposals(["kind", "bin"]))
    counts: dict[str, list[int]] = {}
    for row in read_table(database.store, SAMPLING_FILE, SAMPLING).to_pylist():
        if row["kind"] not in KINDS or not 1 <= row["bin"] <= BINS or row["count"] < 0:
            what = f"{row['count']} rows of kind '{excerpt(row['kind'])}' and bin {row['bin']}"
            raise UserError(f"{database.store.url}/{SAMPLING_FILE} counts {what}; {REMAKE}")
        counts.setdefault(row["kind"], [0] * BINS)[row["bin"] - 1] = row["count"]
    return counts
