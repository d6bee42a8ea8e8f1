"""``agg database validate``: everything in a database that can be checked without the photographs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.contents import CARD, CROISSANT, DATABASE_LAYOUT, MANIFEST, SAMPLING_FILE
from agg_pipeline.database.identity import combined, image_digests, recipe_hashes
from agg_pipeline.database.image_licences import IMAGE_LICENCES, Counts, count_licences, image_licences
from agg_pipeline.database.impossible_values import impossible_sources
from agg_pipeline.database.manifest import SUMMARIES, make_manifest, named_sources, without_summaries
from agg_pipeline.database.reader import ProposalDatabase, with_source
from agg_pipeline.database.row_checks import CheckedRun, checked_run, wrong_rows
from agg_pipeline.database.sampling import sampling_table
from agg_pipeline.execution.parquet_files import (
    TABLE_ERRORS,
    OtherSchemaError,
    first_line,
    parquet_table,
    text_metadata,
)
from agg_pipeline.execution.plan import stamp_of
from agg_pipeline.execution.resuming import folders_for_files, foreign_tables, is_litter, unlike_plan
from agg_pipeline.execution.shard_files import PLAN, damage, listing, shard_name, shard_of, sidecar_path
from agg_pipeline.storage.lock import NO_LOCK, blocked_by, holder, is_lock
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json, content_hash
from schemas.checked_json import JsonError
from schemas.documents import Manifest
from schemas.errors import UnusableFileError, UserError
from schemas.findings import Finding
from schemas.tables import FILES, FORMAT_MINOR, KINDS, SAMPLING, stored_schema
from schemas.words import plural

SCHEMA_DIFFERS = "does not have the schema of this format"


def validate(opened: ProposalDatabase) -> Iterator[Finding]:
    """Every inconsistency of a database: plan, checksums, schemas, ids, masks, numbers, references, weights."""
    store, plan = opened.store, opened.plan
    yield from _plan(plan)
    yield from _files(opened)
    try:
        runs = [checked_run(source) for source in opened.sources]
    except UserError as error:
        yield Finding(PLAN, f"{error}; the shards cannot be checked without it")
        return
    seen: set[str] = set()
    counts: Counter[tuple[str, int]] = Counter()
    recipes, images = recipe_hashes(opened.sources), list[bytes]()
    licences: Counts = Counter()
    whole = not opened.broken
    for index, sidecar in opened.sidecars.items():
        problems = list(_sidecar(store, plan, sidecar))
        yield from problems
        if problems:
            whole = False
            continue
        tables = {}
        for name in FILES:
            table = _shard_table(opened, name, index)
            if isinstance(table, Finding):
                whole = False
                yield table
            else:
                tables[name] = table
        if len(tables) == len(FILES):
            yield from _shard(plan, runs, index, sidecar, tables, seen)
            images += image_digests(tables, recipes)
            licences.update(count_licences(tables["images"]))
            columns = tables["proposals"].select(["kind", "bin"]).to_pydict()
            counts.update(pair for pair in zip(*columns.values(), strict=True) if pair[0] in KINDS)
    if whole:
        yield from _summaries(opened, counts, combined(images), image_licences(licences, opened.sources))


def _shard_table(opened: ProposalDatabase, name: str, index: int) -> pa.Table | Finding:
    """A table of a shard with the columns of this format, or what is wrong with it."""
    path = f"{name}/{shard_name(index)}.parquet"
    stored = stored_schema(name, opened.minor)
    table = _table(opened.store, path, stored, more=opened.minor > FORMAT_MINOR)
    if isinstance(table, Finding):
        return table
    stamp = stamp_of(DATABASE_LAYOUT, opened.plan).metadata if opened.minor else {}
    if text_metadata(table.schema) != stamp:
        return Finding(path, "says in its metadata something else of its run than the plan")
    table = with_source(name, table)
    for wrong in impossible_sources(table, len(opened.sources)):
        return Finding(path, wrong)
    return table


def _table(store: Store, path: str, schema: pa.Schema, more: bool = False) -> pa.Table | Finding:
    try:
        table = parquet_table(store, path, schema, more=more)
    except OtherSchemaError:
        return Finding(path, SCHEMA_DIFFERS)
    except TABLE_ERRORS as error:
        return Finding(path, f"cannot be read as Parquet: {first_line(error)}")
    except UnusableFileError as error:
        return Finding(path, error.what)
    known = pa.schema(list(table.schema)[: len(schema)])
    # An earlier minor version has the units in other words.
    documented = all((field.metadata or {}).keys() == {b"unit", b"nullable"} for field in known)
    return table if known.equals(schema) and documented else Finding(path, SCHEMA_DIFFERS)


def _plan(plan: Json) -> Iterator[Finding]:
    described = {key: value for key, value in plan.items() if key not in ("shards", "config_hash")}
    if content_hash(described) != plan["config_hash"]:
        yield Finding(PLAN, "config_hash is not the hash of the plan's content")
    ids = [image for shard in plan["shards"] for image in shard]
    if len(set(ids)) < len(ids):
        yield Finding(PLAN, "an image is planned twice")
    if "sources" not in plan and len(ids) != plan["dataset"]["images"]:
        yield Finding(PLAN, f"plans {len(ids)} of {plural(plan['dataset']['images'], 'image')}")


def _files(opened: ProposalDatabase) -> Iterator[Finding]:
    """Broken sidecars, and files beside those of the finished shards."""
    for path, wrong in opened.broken.items():
        yield Finding(path, wrong)
    files = sorted(listing(opened.store, DATABASE_LAYOUT))
    for path in foreign_tables(DATABASE_LAYOUT, files):
        yield Finding(path, "is not of this database, but whoever reads its folder reads it, too")
    for path in folders_for_files(DATABASE_LAYOUT, files):
        yield Finding(path, "is a folder in the place of a file")
    yield from _strays(opened.store)
    run = holder(opened.store)
    if run is not None and run.lives is not False:
        # The files of the shards that are being written have no sidecar yet.
        return
    blocking = blocked_by(opened.store)
    if blocking and f"{blocking}/" not in files:
        yield Finding(blocking, NO_LOCK)
    known = {PLAN, *DATABASE_LAYOUT.summaries, *opened.broken}
    for index in (*opened.sidecars, *map(shard_of, opened.broken)):
        known |= {sidecar_path(index), *DATABASE_LAYOUT.files(index)}
    for path in files:
        if path not in known and not is_lock(path) and DATABASE_LAYOUT.owns(path):
            yield Finding(path, "belongs to no finished shard; run the command that made the database again")


def _strays(store: Store) -> Iterator[Finding]:
    """What somebody has put beside the plan or the sidecars."""
    for folder in ("", "shards"):
        for name in store.names(folder):
            path = f"{folder}/{name}" if folder else name
            if not (path in DATABASE_LAYOUT.places or DATABASE_LAYOUT.owns(path) or is_litter(path)):
                yield Finding(path, "is not of this database; move it to another folder")


def _sidecar(store: Store, plan: Json, sidecar: Json) -> Iterator[Finding]:
    path = sidecar_path(sidecar["shard"])
    unlike = unlike_plan(sidecar, plan)
    if unlike:
        yield Finding(path, unlike)
    for problem in damage(store, sidecar):
        yield Finding(path, problem)


def _shard(
    plan: Json,
    runs: Sequence[CheckedRun],
    index: int,
    sidecar: Json,
    tables: Mapping[str, pa.Table],
    seen: set[str],
) -> Iterator[Finding]:
    name = shard_name(index)
    for folder, table in tables.items():
        rows = sidecar["files"][f"{folder}/{name}.parquet"]["rows"]
        if table.num_rows != rows:
            yield Finding(f"{folder}/{name}.parquet", f"has {plural(table.num_rows, 'row')}, its sidecar says {rows}")
    for counts, folder, column in (("kinds", "proposals", "kind"), ("rejects", "rejects", "reason")):
        if Counter(sidecar[counts]) != _counted(tables[folder][column]):
            yield Finding(sidecar_path(index), f"{counts} are not those of the rows in {folder}/{name}.parquet")
    planned = plan["shards"][index][: sidecar["images"]]
    paths = {folder: f"{folder}/{name}.parquet" for folder in tables}
    yield from wrong_rows(runs, planned, tables, paths, seen, plan.get("format_minor", 0))


def _counted(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({pair["values"]: pair["counts"] for pair in pc.value_counts(column).to_pylist()})


def _summaries(
    opened: ProposalDatabase, counts: Counter[tuple[str, int]], identity: str, licences: Json
) -> Iterator[Finding]:
    store = opened.store
    for path in (MANIFEST, SAMPLING_FILE, CARD):
        if not store.exists(path):
            yield Finding(path, "is missing; run the command that made the database again to write it")
    if store.exists(MANIFEST):
        yield from _manifest(opened, identity, licences)
    if store.exists(SAMPLING_FILE):
        sampling = _table(store, SAMPLING_FILE, SAMPLING)
        if isinstance(sampling, Finding):
            yield sampling
        elif sampling.to_pylist() != sampling_table(counts).to_pylist():
            yield Finding(SAMPLING_FILE, "differs from what the rows give")


def _manifest(opened: ProposalDatabase, identity: str, licences: Json) -> Iterator[Finding]:
    store = opened.store
    try:
        manifest = store.read_json(MANIFEST, Manifest, limits.PLAN_BYTES)
    except UnusableFileError as error:
        yield Finding(MANIFEST, error.what)
        return
    except JsonError as error:
        yield Finding(MANIFEST, error.said)
        return
    if without_summaries(manifest) != make_manifest(opened.plan, opened.sidecars):
        yield Finding(MANIFEST, "differs from what the plan and the sidecars give")
    if opened.minor and (manifest.get("id"), manifest.get("sources")) != (
        identity,
        named_sources(opened.plan, identity),
    ):
        yield Finding(MANIFEST, f"does not say the identity of the rows, {identity}, and the sources of the plan")
    # Earlier versions of this program did not write them.
    if IMAGE_LICENCES in manifest and manifest[IMAGE_LICENCES] != licences.get(IMAGE_LICENCES):
        yield Finding(MANIFEST, "does not say the licences of the images")
    said = manifest.get(SUMMARIES, {})
    if CROISSANT in said and not store.exists(CROISSANT):
        yield Finding(CROISSANT, "is missing; run the command that made the database again to write it")
    for path in (CARD, CROISSANT):
        # Version 0.1 of this program wrote no checksum of the card, and format 1.0 has no croissant.json.
        if path not in said or not store.exists(path):
            continue
        try:
            content = store.read(path, limits.JSON_BYTES)
        except UnusableFileError as error:
            yield Finding(path, error.what)
            continue
        if hashlib.sha256(content).hexdigest() != said[path]:
            yield Finding(path, "was changed after it was written")
