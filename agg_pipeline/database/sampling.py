"""The sampling weights that a database carries: one row for each kind and granularity bin."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from schemas.tables import KINDS, SAMPLING


def sampling_table(kinds_and_bins: Counter[tuple[str, int]]) -> pa.Table:
    """Count, share and weight per (kind, bin); the share is that of the bin among the rows of all kinds."""
    total = sum(kinds_and_bins.values())
    of_bin: Counter[int] = Counter()
    for (_, number), count in kinds_and_bins.items():
        of_bin[number] += count
    rows = [
        {
            "kind": kind,
            "bin": number,
            "count": count,
            "share": of_bin[number] / total,
            "weight": total / of_bin[number],
        }
        for (kind, number), count in sorted(kinds_and_bins.items(), key=lambda item: (KINDS.index(item[0][0]), item))
    ]
    return pa.Table.from_pylist(rows, SAMPLING)
