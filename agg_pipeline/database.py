"""The proposal database: its manifest and sampling weights; how it lies on disk is in ``sharded``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from agg_pipeline import sharded
from agg_pipeline.sharded import Json, Layout
from agg_pipeline.storage import Store
from schemas.tables import FILES, FORMAT_VERSION, KINDS, SAMPLING

MANIFEST = "manifest.json"
SAMPLING_FILE = "sampling.parquet"
CARD = "README.md"
LAYOUT = Layout(
    what="a proposal database",
    version=FORMAT_VERSION,
    algorithm_version=2,
    folders=tuple(FILES),
    counts=("kinds", "rejects"),
    summaries=(MANIFEST, SAMPLING_FILE, CARD),
)


def write_shard(store: Store, index: int, images: int, config_hash: str, tables: Mapping[str, pa.Table]) -> Json:
    """Write a shard's files, its sidecar last, and return the sidecar; images: of the plan that it covers."""
    counts = {
        "kinds": _counted(tables["proposals"]["kind"], KINDS),
        "rejects": _counted(tables["rejects"]["reason"], ()),
    }
    return sharded.write_shard(store, LAYOUT, index, images, config_hash, tables, counts)


def _counted(column: pa.ChunkedArray, always: Sequence[str]) -> dict[str, int]:
    counts = Counter(column.to_pylist())
    return {name: counts[name] for name in sorted({*always, *counts})}


def make_manifest(plan: Json, found: Mapping[int, Json]) -> Json:
    """Plan, sidecars, totals, licence and citation in one document; a pure function of what is on disk."""
    kinds: Counter[str] = Counter()
    rejects: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    size = 0
    for sidecar in found.values():
        kinds.update(sidecar["kinds"])
        rejects.update(sidecar["rejects"])
        for path, file in sidecar["files"].items():
            rows[path.split("/")[0]] += file["rows"]
            size += file["bytes"]
    planned = sum(sidecar["images"] for sidecar in found.values())
    totals = {
        "planned_images": planned,
        "images": rows["images"],
        "objects": kinds["object"],
        "proposals": {kind: kinds[kind] for kind in KINDS},
        "rejects": dict(sorted(rejects.items())),
        "bytes": size,
    }
    return {
        "plan": sharded.described(plan) | {"config_hash": plan["config_hash"], "shards": len(plan["shards"])},
        "complete": planned == plan["dataset"]["images"],
        "licence": plan["dataset"]["licence"],
        "citation": plan["dataset"]["citation"],
        "totals": totals,
        "shards": [found[index] for index in sorted(found)],
    }


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
