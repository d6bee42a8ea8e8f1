"""The summaries of a proposal database, above all its manifest: a pure function of plan and shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from agg_pipeline.database.card import dataset_card
from agg_pipeline.database.contents import CARD, DATABASE_LAYOUT, MANIFEST
from agg_pipeline.database.sampling import write_sampling
from agg_pipeline.execution.plan import described
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.tables import KINDS


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
        "plan": described(plan) | {"config_hash": plan["config_hash"], "shards": len(plan["shards"])},
        "complete": planned == plan["dataset"]["images"],
        "licence": plan["dataset"]["licence"],
        "citation": plan["dataset"]["citation"],
        "totals": totals,
        "shards": [found[index] for index in sorted(found)],
    }


def finish(store: Store, plan: Json, found: Mapping[int, Json]) -> Json:
    """Write the files that are true only of a finished run: sampling weights, dataset card and manifest.

    Args:
        store: the database.
        plan: its plan.
        found: sidecars of the finished shards, by shard.

    Returns:
        The manifest.
    """
    manifest = make_manifest(plan, found)
    write_sampling(store, found)
    store.write(CARD, dataset_card(manifest).encode())
    # Last: a manifest that agrees with the sidecars says that the others do, too.
    store.write_json(MANIFEST, manifest)
    return manifest


def finished(store: Store, plan: Json, found: Mapping[int, Json]) -> Json | None:
    """Read the manifest, if it belongs to the shards that are there.

    A run deletes manifest, card and sampling weights before it makes a shard, and writes them again at its end.

    Args:
        store: the database.
        plan: its plan.
        found: sidecars of the finished shards, by shard.

    Returns:
        The manifest; None if the files must be written: one is missing, or the manifest is of other shards.
    """
    there = store.sizes(DATABASE_LAYOUT.summaries)
    if len(there) < len(DATABASE_LAYOUT.summaries):
        return None
    manifest = make_manifest(plan, found)
    try:
        return manifest if store.read_json(MANIFEST) == manifest else None
    except UserError:
        return None
