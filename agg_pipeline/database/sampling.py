"""The sampling weights that a database carries: one row for each kind and granularity bin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from agg_pipeline.database.contents import SAMPLING_FILE
from agg_pipeline.execution.parquet_files import parquet_bytes, read_table
from agg_pipeline.execution.shard_files import shard_name
from agg_pipeline.storage.store import Store
from schemas.tables import KINDS, PROPOSALS, SAMPLING


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


def write_sampling(store: Store, shards: Iterable[int]) -> None:
    """Write the sampling weights of these shards."""
    counts: Counter[tuple[str, int]] = Counter()
    for index in shards:
        table = read_table(store, f"proposals/{shard_name(index)}.parquet", PROPOSALS, ["kind", "bin"])
        counts.update(zip(table["kind"].to_pylist(), table["bin"].to_pylist(), strict=True))
    store.write(SAMPLING_FILE, parquet_bytes(sampling_table(counts)))
