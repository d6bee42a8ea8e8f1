"""How many rows a database has, by kind and granularity bin."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from schemas.numbers import BINS
from schemas.tables import KINDS


def by_kind_and_bin(table: pa.Table) -> dict[str, list[int]]:
    """Rows of each bin 1..10, by kind; kinds without rows are left out."""
    kinds = table["kind"].to_numpy(zero_copy_only=False)
    bins = table["bin"].to_numpy()
    counts = {kind: np.bincount(bins[kinds == kind], minlength=BINS + 1)[1:].tolist() for kind in KINDS}
    return {kind: of_bins for kind, of_bins in counts.items() if any(of_bins)}
