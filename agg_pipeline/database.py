"""The proposal database on disk: plan, shards with their sidecars, manifest, and the rules of resuming."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.lock import LOCK
from agg_pipeline.storage import TEMPORARY, Store
from schemas.config import ProposalsConfig, content_hash, differences
from schemas.errors import UserError
from schemas.tables import FILES, FORMAT_VERSION, KINDS, SAMPLING

ALGORITHM_VERSION = 2
PLAN = "plan.json"
MANIFEST = "manifest.json"
SAMPLING_FILE = "sampling.parquet"
CARD = "README.md"
FILTERED = ("image_id", "kind", "granularity", "bin", "reason")
"""Columns that queries filter by; statistics of the others would only make small files larger."""
SIDECAR_KEYS = {"shard", "config_hash", "images", "files", "kinds", "rejects"}

Json = dict[str, Any]

_TEMPORARY_FILE = rf"(\w+/)?{re.escape(TEMPORARY)}.*"
_OWN_FILE = re.compile(
    rf"{PLAN}|{MANIFEST}|{SAMPLING_FILE}|{CARD}|{LOCK}|({'|'.join(FILES)})/part-\d+\.parquet|shards/part-\d+\.json"
    rf"|{_TEMPORARY_FILE}"
)


def make_plan(dataset: Dataset, model: Json, environment: Json, config: ProposalsConfig) -> Json:
    """The plan of a run: everything that decides the content of the database, and the images of every shard.

    model: architecture, input_size, sha256. environment: what else changes a bit (device kind, torch version).
    """
    described = {
        "format_version": FORMAT_VERSION,
        "algorithm_version": ALGORITHM_VERSION,
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "fingerprint": dataset.fingerprint,
            "images": len(dataset.entries),
            "selection": dict(dataset.selection),
            "licence": dataset.about.licence,
            "citation": dataset.about.citation,
            "homepage": dataset.about.homepage,
        },
        "model": model,
        "environment": environment,
        "seed": config.seed,
        "config": asdict(config),
    }
    ids = [entry.image_id for entry in dataset.entries]
    size = config.batch.images_per_shard
    shards = [ids[start : start + size] for start in range(0, len(ids), size)]
    return described | {"config_hash": content_hash(described), "shards": shards}


def refuse_other_plan(store: Store, plan: Json) -> None:
    """UserError with the differences if the folder holds the plan of another run."""
    old = store.read_json(PLAN)
    if old == plan:
        return
    changed = differences(_described(old), _described(plan)) or ["shards: another order or choice of images"]
    raise UserError(
        f"{store.url} holds another run; choose another output folder, or --overwrite to delete it. Different: "
        + "; ".join(changed)
    )


def _described(plan: Json) -> Json:
    return {key: value for key, value in plan.items() if key not in ("shards", "config_hash")}


def shard_name(index: int) -> str:
    """Common stem of a shard's files."""
    return f"part-{index:05d}"


def sidecar_path(index: int) -> str:
    """Path of the completion marker of a shard."""
    return f"shards/{shard_name(index)}.json"


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file: the same bytes for the same rows."""
    sink = io.BytesIO()
    names = set(table.column_names)
    pq.write_table(
        table,
        sink,
        version="2.6",
        # Four fifths of a database are run lengths, which a higher level makes smaller.
        compression="zstd",
        compression_level=9,
        use_dictionary=[field.name for field in table.schema if pa.types.is_string(field.type)],
        write_statistics=[name for name in FILTERED if name in names],
    )
    return sink.getvalue()


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some of its columns; FileNotFoundError, or an Arrow exception if it is broken."""
    with store.open(path) as file:
        # After a read with threads Arrow sometimes aborts the interpreter at its end (apache/arrow#34314).
        return pq.read_table(file, columns=None if columns is None else list(columns), use_threads=False)


def write_shard(store: Store, index: int, planned: int, config_hash: str, tables: Mapping[str, pa.Table]) -> Json:
    """Write a shard's files, its sidecar last, and return the sidecar; planned: images of the plan that it covers."""
    files = {}
    for folder in FILES:
        path = f"{folder}/{shard_name(index)}.parquet"
        content = parquet_bytes(tables[folder])
        store.write(path, content)
        digest = hashlib.sha256(content).hexdigest()
        files[path] = {"rows": tables[folder].num_rows, "bytes": len(content), "sha256": digest}
    sidecar = {
        "format_version": FORMAT_VERSION,
        "shard": index,
        "config_hash": config_hash,
        "images": planned,
        "files": files,
        "kinds": _counted(tables["proposals"]["kind"], KINDS),
        "rejects": _counted(tables["rejects"]["reason"], ()),
    }
    store.write_json(sidecar_path(index), sidecar)
    return sidecar


def _counted(column: pa.ChunkedArray, always: Sequence[str]) -> dict[str, int]:
    counts = Counter(column.to_pylist())
    return {name: counts[name] for name in sorted({*always, *counts})}


def sidecars(store: Store) -> dict[int, Json]:
    """The sidecars that are there, by shard; UserError for a file that is none."""
    found = {}
    for path in store.files("shards"):
        if path.endswith(".json"):
            advice = "delete it, and its shard is made again"
            try:
                sidecar = store.read_json(path)
            except UserError as error:
                raise UserError(f"{error}; {advice}") from error
            if not isinstance(sidecar, dict) or SIDECAR_KEYS - set(sidecar):
                raise UserError(f"{store.url}/{path} is no sidecar; {advice}")
            if path != sidecar_path(sidecar["shard"]):
                raise UserError(f"{store.url}/{path} says that it is of shard {sidecar['shard']}; {advice}")
            found[int(sidecar["shard"])] = sidecar
    return dict(sorted(found.items()))


def damage(store: Store, sidecar: Json) -> list[str]:
    """What is wrong with the files that a sidecar lists: missing, other size, other checksum; empty if nothing is."""
    problems = []
    for path, expected in sidecar["files"].items():
        try:
            content = store.read(path)
        except FileNotFoundError:
            problems.append(f"{path} is missing")
            continue
        if len(content) != expected["bytes"]:
            problems.append(f"{path} has {len(content)} bytes, its sidecar says {expected['bytes']}")
        elif hashlib.sha256(content).hexdigest() != expected["sha256"]:
            problems.append(f"{path} does not have the checksum that its sidecar says")
    return problems


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
        "plan": _described(plan) | {"config_hash": plan["config_hash"], "shards": len(plan["shards"])},
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


def remove_leftovers(store: Store) -> None:
    """Delete what killed runs left: temporary files, and files of shards that have no sidecar."""
    marked = {sidecar_path(index).split("/")[1].removesuffix(".json") for index in sidecars(store)}
    for path in store.files():
        folder, _, name = path.rpartition("/")
        orphan = folder in FILES and name.removesuffix(".parquet") not in marked
        if name.startswith(TEMPORARY) or orphan:
            store.remove(path)


def refuse_foreign_files(store: Store) -> None:
    """UserError if a folder holds files that are not those of a proposal database."""
    foreign = [path for path in store.files() if not _OWN_FILE.fullmatch(path)]
    if foreign:
        raise UserError(
            f"{store.url} holds {foreign[0]}, which is no file of a proposal database; choose another folder"
        )


def drop_damaged(store: Store, config_hash: str) -> None:
    """Delete the sidecars of shards whose files are not what they say: these shards are to be made again."""
    for index, sidecar in sidecars(store).items():
        if sidecar["config_hash"] != config_hash or damage(store, sidecar):
            store.remove(sidecar_path(index))


def drop_summaries(store: Store) -> None:
    """Delete what is only true of a finished run: manifest, sampling weights, card."""
    for path in (MANIFEST, SAMPLING_FILE, CARD):
        store.remove(path)


def overwrite(store: Store) -> None:
    """Delete the database in a folder; UserError if the folder holds something else."""
    refuse_foreign_files(store)
    for path in store.files():
        if path != LOCK:
            store.remove(path)
