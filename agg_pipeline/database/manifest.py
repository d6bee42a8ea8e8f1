"""The summaries of a proposal database, above all its manifest: a pure function of plan and shards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.card import dataset_card
from agg_pipeline.database.citing import citation_file
from agg_pipeline.database.contents import CARD, CITATION, CROISSANT, DATABASE_LAYOUT, MANIFEST, SAMPLING_FILE
from agg_pipeline.database.croissant import croissant
from agg_pipeline.database.description import description
from agg_pipeline.database.identity import combined, image_digests, recipe_hashes
from agg_pipeline.database.image_licences import IMAGE_LICENCES, Counts, count_licences, image_licences
from agg_pipeline.database.impossible_values import impossible_values
from agg_pipeline.database.sampling import sampling_table
from agg_pipeline.execution.parquet_files import parquet_bytes, read_table
from agg_pipeline.execution.plan import described, sources, stamp_of
from agg_pipeline.execution.shard_files import shard_name, sidecar_path
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json
from schemas.documents import Manifest
from schemas.errors import StoppedError, StorageError, UnusableFileError, UserError
from schemas.numbers import BINS
from schemas.tables import FILES, FORMAT_MINOR, IMAGE_REASONS, KINDS, REASONS

SUMMARIES = "summaries"
"""Key of the sha256 of the files beside the manifest, by path; missing in databases of version 0.1."""
ADDED = ("id", "sources", IMAGE_LICENCES, SUMMARIES)
"""Keys that plan and sidecars alone do not give."""
ROUNDING = 1e-5
"""Most that ten times a granularity differs from its float32."""


def make_manifest(plan: Json, found: Mapping[int, Json]) -> Json:
    """Plan, sidecars, totals, licence and citation in one document; a pure function of plan and sidecars.

    The identity of the database, its sources, the licences of its images and the checksums of its summaries are added
    when they are known.
    """
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
    about = description(plan)
    return {
        "plan": described(plan) | {"config_hash": plan["config_hash"], "shards": len(plan["shards"])},
        "complete": planned == sum(map(len, plan["shards"])),
        "licence": about.licence,
        "citation": about.citation,
        "totals": totals,
        "shards": [found[index] for index in sorted(found)],
    }


def finish(store: Store, plan: Json, found: Mapping[int, Json], check: Callable[[], None] = lambda: None) -> Json:
    """Write the files that are true only of a finished run: sampling weights, dataset card and manifest.

    A shard that does not hold what its plan and sidecar say loses its sidecar, so that the next run makes it again.

    Args:
        store: the database.
        plan: its plan.
        found: sidecars of the finished shards, by shard.
        check: called before each change of the folder; raises UserError if it is another run's by now. Reading the
            shards takes a while.

    Returns:
        The manifest.

    Raises:
        UserError: a shard holds other rows than plan and sidecar say.
    """
    manifest = make_manifest(plan, found)
    counts: Counter[tuple[str, int]] = Counter()
    licences: Counts = Counter()
    recipes = recipe_hashes(sources(plan))
    digests: list[bytes] = []
    newer = plan.get("format_minor", 0) > FORMAT_MINOR
    for index, sidecar in found.items():
        paths = {name: f"{name}/{shard_name(index)}.parquet" for name in FILES}
        tables = {name: read_table(store, path, FILES[name], more=newer) for name, path in paths.items()}
        rows = tables["proposals"]
        _check_published(store, plan, sidecar, rows, check)
        counts.update(zip(rows["kind"].to_pylist(), rows["bin"].to_pylist(), strict=True))
        licences.update(count_licences(tables["images"]))
        digests += image_digests(tables, recipes)
    manifest["id"] = combined(digests)
    manifest["sources"] = named_sources(plan, manifest["id"])
    manifest |= image_licences(licences, sources(plan))
    sampling = sampling_table(counts).replace_schema_metadata(stamp_of(DATABASE_LAYOUT, plan).metadata)
    weights = parquet_bytes(sampling)
    about = croissant(manifest, hashlib.sha256(weights).hexdigest())
    files = {SAMPLING_FILE: weights, CARD: dataset_card(manifest).encode(), CROISSANT: about}
    for path, content in files.items():
        check()
        store.write(path, content)
    manifest[SUMMARIES] = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    check()
    _write_citation(store, manifest)
    # Last: a manifest that agrees with the sidecars says that the others do, too.
    check()
    store.write_json(MANIFEST, manifest)
    return manifest


def _write_citation(store: Store, manifest: Json) -> None:
    """Write how to cite the database, unless somebody has added names to a file of the same identity."""
    if edited_citation(store, manifest) is None:
        store.write(CITATION, citation_file(manifest))


def edited_citation(store: Store, manifest: Json) -> bytes | None:
    """The file that says how to cite a database, if it is in a folder, and somebody has changed it.

    Args:
        store: the folder.
        manifest: of the database.

    Returns:
        Its content; None if it is missing, as it was written, or that of another identity.
    """
    with suppress(UnusableFileError, FileNotFoundError):
        content = store.read(CITATION, limits.JSON_BYTES) if store.sizes([CITATION]) else b""
        if manifest["id"].encode() in content and content != citation_file(manifest):
            return content
    return None


def named_sources(plan: Json, identity: str) -> list[Json]:
    """The runs that have made the rows of a database with an identity, each with that of the database that it made."""
    return [{"id": identity, **source} for source in sources(plan)]


def _check_published(store: Store, plan: Json, sidecar: Json, rows: pa.Table, check: Callable[[], None]) -> None:
    """UserError if the rows of a shard's proposals are not those that plan and sidecar say; its sidecar is deleted."""
    index = sidecar["shard"]
    others = set(pc.unique(rows["image_id"]).to_pylist()) - set(plan["shards"][index])
    kinds = Counter(rows["kind"].to_pylist())
    wrong = [*impossible_values("proposals", rows, len(sources(plan)))]
    if others or wrong or kinds != Counter(sidecar["kinds"]) or not _adds_up(sidecar) or not _bins_agree(rows):
        check()
        store.remove(sidecar_path(index))
        raise StoppedError(
            f"{store.url}/{sidecar_path(index)} or the plan does not say what proposals/{shard_name(index)}.parquet "
            "holds, or its rows cannot be; resuming makes the shard again"
        )


def _adds_up(sidecar: Json) -> bool:
    """Whether the numbers of rows in a sidecar are possible: every image has a row, or a reject of a whole image."""
    rows = {path.split("/")[0]: file["rows"] for path, file in sidecar["files"].items()}
    # A reason of a later minor version may be one for which a whole image fell out.
    known = REASONS.keys() - IMAGE_REASONS
    lost = sum(number for reason, number in sidecar["rejects"].items() if reason not in known)
    counted = {"proposals": sum(sidecar["kinds"].values()), "rejects": sum(sidecar["rejects"].values())}
    return rows == rows | counted and bool(rows["images"] <= sidecar["images"] <= rows["images"] + lost)


def _bins_agree(rows: pa.Table) -> bool:
    """Whether all bins are those of the granularities, which are stored with fewer digits than the bins are made of."""
    tenths = np.maximum(1.0, BINS * rows["granularity"].to_numpy().astype(np.float64))
    return bool((np.abs(tenths - rows["bin"].to_numpy()) < 0.5 + ROUNDING).all())


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
    try:
        manifest: Json = store.read_json(MANIFEST, Manifest, limits.PLAN_BYTES)
        whole = not changed_summaries(store, manifest)
    except StorageError:
        raise
    except UserError:
        return None
    return manifest if whole and without_summaries(manifest) == make_manifest(plan, found) else None


def without_summaries(manifest: Json) -> Json:
    """The part of a manifest that plan and sidecars give."""
    return {key: value for key, value in manifest.items() if key not in ADDED}


def changed_summaries(store: Store, manifest: Json) -> list[str]:
    """The files beside the manifest whose checksum is another than it says, or which it does not name.

    Raises:
        UserError: a file is missing, or something else lies in its place.
    """
    said = manifest.get(SUMMARIES, {})
    # Version 0.1 of the program wrote none. Every database of format 1.1 has them.
    unknown = SUMMARIES not in manifest and not manifest["plan"].get("format_minor", 0)
    changed = []
    # Format 1.0 has no croissant.json.
    for path in (SAMPLING_FILE, CARD, *({CROISSANT} & said.keys())):
        try:
            content = store.read(path, limits.JSON_BYTES)
        except FileNotFoundError:
            raise UserError(f"{store.url}/{path} is missing") from None
        if not unknown and said.get(path) != hashlib.sha256(content).hexdigest():
            changed.append(path)
    return changed
