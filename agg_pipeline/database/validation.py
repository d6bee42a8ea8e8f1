"""``agg proposals validate``: everything in a database that can be checked without the photographs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.contents import CARD, DATABASE_LAYOUT, MANIFEST, SAMPLING_FILE
from agg_pipeline.database.impossible_values import impossible_values
from agg_pipeline.database.manifest import SUMMARIES, make_manifest, without_summaries
from agg_pipeline.database.proposal_rows import proposal_id
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.database.sampling import sampling_table
from agg_pipeline.execution.parquet_files import TABLE_ERRORS, OtherSchemaError, first_line, parquet_table
from agg_pipeline.execution.resuming import folders_for_files, foreign_tables, is_litter, unlike_plan
from agg_pipeline.execution.shard_files import PLAN, damage, listing, shard_name, shard_of, sidecar_path
from agg_pipeline.storage.lock import NO_LOCK, blocked_by, holder, is_lock
from agg_pipeline.storage.rle import decode
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json, content_hash
from schemas.checked_json import JsonError, checked
from schemas.config import GranularityConfig, ProposalsConfig
from schemas.crop import MaskCrop, area, crop_mask, intersection
from schemas.errors import UnusableFileError, UserError
from schemas.findings import Finding
from schemas.numbers import BINS, granularity_bin
from schemas.resolve import override, validated
from schemas.tables import FILES, KINDS, REASONS, SAMPLING
from schemas.words import plural
from stages.granularity import combine

SCHEMA_DIFFERS = "does not have the schema of this format"
ROWS = 4096
"""Rows that are checked at a time."""


def validate(opened: ProposalDatabase) -> Iterator[Finding]:
    """Every inconsistency of a database: plan, checksums, schemas, ids, masks, numbers, references, weights."""
    store, plan = opened.store, opened.plan
    yield from _plan(plan)
    yield from _files(opened)
    try:
        config: ProposalsConfig = validated(override(ProposalsConfig(), plan["config"]))
    except UserError as error:
        yield Finding(PLAN, f"{error}; the shards cannot be checked without it")
        return
    seen: set[str] = set()
    counts: Counter[tuple[str, int]] = Counter()
    whole = not opened.broken
    for index, sidecar in opened.sidecars.items():
        problems = list(_sidecar(store, plan, sidecar))
        yield from problems
        if problems:
            whole = False
            continue
        tables = {}
        for name, schema in FILES.items():
            path = f"{name}/{shard_name(index)}.parquet"
            table = _table(store, path, schema)
            if isinstance(table, Finding):
                whole = False
                yield table
            else:
                tables[name] = table
        if len(tables) == len(FILES):
            yield from _shard(plan, config, index, sidecar, tables, seen)
            columns = tables["proposals"].select(["kind", "bin"]).to_pydict()
            counts.update(pair for pair in zip(*columns.values(), strict=True) if pair[0] in KINDS)
    if whole:
        yield from _summaries(store, plan, opened.sidecars, counts)


def _table(store: Store, path: str, schema: pa.Schema) -> pa.Table | Finding:
    try:
        table = parquet_table(store, path, schema)
    except OtherSchemaError:
        return Finding(path, SCHEMA_DIFFERS)
    except TABLE_ERRORS as error:
        return Finding(path, f"cannot be read as Parquet: {first_line(error)}")
    except UnusableFileError as error:
        return Finding(path, error.what)
    return table if table.schema.equals(schema, check_metadata=True) else Finding(path, SCHEMA_DIFFERS)


def _plan(plan: Json) -> Iterator[Finding]:
    described = {key: value for key, value in plan.items() if key not in ("shards", "config_hash")}
    if content_hash(described) != plan["config_hash"]:
        yield Finding(PLAN, "config_hash is not the hash of the plan's content")
    ids = [image for shard in plan["shards"] for image in shard]
    if len(set(ids)) < len(ids):
        yield Finding(PLAN, "an image is planned twice")
    if len(ids) != plan["dataset"]["images"]:
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
    config: ProposalsConfig,
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
    for wrong in impossible_values("images", tables["images"]):
        yield Finding(f"images/{name}.parquet", wrong)
    images = dict(_sizes(tables["images"]))
    if len(images) < tables["images"].num_rows:
        yield Finding(f"images/{name}.parquet", "has an image twice")
    planned = plan["shards"][index][: sidecar["images"]]
    dropped = set(pc.unique(tables["rejects"]["image_id"]).to_pylist())
    for image in planned:
        if image not in images and image not in dropped:
            yield Finding(f"images/{name}.parquet", f"image {image} of the plan is neither there nor rejected")
    for image in {*images, *dropped} - set(planned):
        yield Finding(f"images/{name}.parquet", f"image {image} is not planned for this shard")
    for image in set(images) - dropped - set(pc.unique(tables["proposals"]["image_id"]).to_pylist()):
        yield Finding(f"images/{name}.parquet", f"image {image} has neither proposals nor rejects")
    unknown = tables["rejects"].filter(pc.invert(pc.is_in(tables["rejects"]["reason"], pa.array(REASONS))))
    for row in _rows(unknown.select(["reason", "image_id"])):
        yield Finding(f"rejects/{name}.parquet", f"unknown reason {row['reason']!r} for image {row['image_id']}")
    yield from _proposals(config, f"proposals/{name}.parquet", tables["proposals"], images, seen)


def _counted(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({pair["values"]: pair["counts"] for pair in pc.value_counts(column).to_pylist()})


def _sizes(images: pa.Table) -> Iterator[tuple[str, tuple[int, int]]]:
    """The id, and height and width of every image."""
    for row in _rows(images.select(["image_id", "height", "width"])):
        yield row["image_id"], (row["height"], row["width"])


def _rows(table: pa.Table) -> Iterator[Json]:
    """The rows of a table, a part of them at a time: a row takes far more memory than in the table."""
    for batch in table.to_batches(ROWS):
        yield from batch.to_pylist()


def _objects_first(table: pa.Table) -> Iterator[Json]:
    is_object = pc.equal(table["kind"], "object")
    for part in (table.filter(is_object), table.filter(pc.invert(is_object))):
        yield from _rows(part)


def _proposals(
    config: ProposalsConfig, path: str, table: pa.Table, images: Mapping[str, tuple[int, int]], seen: set[str]
) -> Iterator[Finding]:
    objects: dict[tuple[str, int], tuple[Json, MaskCrop]] = {}
    ids = set(table["proposal_id"].to_pylist())
    for row in _objects_first(table):
        where = f"{path}: {row['proposal_id']}"
        if row["proposal_id"] in seen:
            yield Finding(where, "the proposal_id is not unique")
        seen.add(row["proposal_id"])
        if row["kind"] not in KINDS:
            yield Finding(where, f"unknown kind {row['kind']!r}")
            continue
        if row["image_id"] not in images:
            yield Finding(where, f"image {row['image_id']} is not in the images of this shard")
            continue
        if (row["height"], row["width"]) != images[row["image_id"]]:
            yield Finding(where, "height and width are not those of the image")
        mask = _mask(row)
        if mask is None:
            yield Finding(where, "the rle does not decode to height x width")
            continue
        yield from (Finding(where, what) for what in _mask_problems(row, mask))
        if row["kind"] == "object":
            objects[row["image_id"], row["instance_id"]] = row, mask
            yield from (Finding(where, what) for what in _object_problems(row))
            continue
        owner = objects.get((row["image_id"], row["instance_id"]))
        if owner is None or row["parent_id"] not in ids:
            yield Finding(where, f"its parent {row['parent_id']} is not in the database")
            continue
        # Annotated parts are what people drew; those of some sets leave their objects by a few pixels.
        contained = row["kind"] == "complement" or (row["kind"] == "part" and config.masks.cut_to_object)
        if contained and intersection(mask, owner[1]) < area(mask):
            yield Finding(where, "the mask has pixels outside its object")
        yield from (Finding(where, what) for what in _part_problems(row, owner[0], config.granularity))


def _mask(row: Json) -> MaskCrop | None:
    try:
        return crop_mask(decode(row["rle"], row["height"], row["width"]), row["height"], row["width"])
    except ValueError:
        return None


def _mask_problems(row: Json, mask: MaskCrop) -> Iterator[str]:
    if area(mask) != row["area"] or row["area"] < 1:
        yield f"area is {row['area']}, the mask has {plural(area(mask), 'pixel')}"
    box = mask.box
    if row["bbox"] != {"x": box.left, "y": box.top, "w": box.width, "h": box.height}:
        yield "bbox is not the tight box of the mask"
    for click in (*(row["clicks"] or ()), *([row["click"]] if row["click"] else ())):
        if not (0 <= click["row"] < row["height"] and 0 <= click["col"] < row["width"]):
            yield f"the click at ({click['row']}, {click['col']}) lies outside of the image"


def _object_problems(row: Json) -> Iterator[str]:
    if row["proposal_id"] != proposal_id(row["image_id"], row["instance_id"], "object", 0):
        yield "the proposal_id is not image:object:object:0"
    if (row["scale"], row["semantic"], row["granularity"], row["bin"]) != (1.0, 1.0, 1.0, BINS):
        yield "an object has scale, semantic and granularity 1 and bin 10"
    for name in ("step", "parent_id", "label", "peak_proposal", "peak_object", "click", "clicks"):
        if row[name] is not None:
            yield f"an object has no {name}"


def _part_problems(row: Json, owner: Json, config: GranularityConfig) -> Iterator[str]:
    if row["kind"] != "annotated":
        if row["proposal_id"] != proposal_id(row["image_id"], row["instance_id"], row["kind"], row["step"]):
            yield "the proposal_id is not image:object:kind:step"
        if row["parent_id"] != owner["proposal_id"]:
            yield "the parent is not its object"
        if not row["clicks"] or not row["clicks"][0]["positive"] or any(c["positive"] for c in row["clicks"][1:]):
            yield "clicks are not one positive click and negative ones after it"
    else:
        if row["label"] is None:
            yield "an annotated part has no label"
        place = f"{row['image_id']}:{row['instance_id']}:"
        if not row["proposal_id"].startswith(f"{place}annotated:"):
            yield "the proposal_id is not image:object:annotated:part"
        if not row["parent_id"].startswith(place):
            yield "the parent is of another object"
    if any(row[name] is None for name in ("peak_proposal", "peak_object", "click")):
        yield "peaks or click are missing"
        return
    if owner["area"] < 1:
        return
    expected = combine(row["area"] / owner["area"], row["peak_proposal"], row["peak_object"], config)
    for name, value in zip(("scale", "semantic", "granularity"), expected, strict=True):
        if float(np.float32(value)) != row[name]:
            yield f"{name} is {row[name]:.7g}, area and peaks give {value:.7g}"
    if granularity_bin(expected[2]) != row["bin"]:
        yield f"bin is {row['bin']}, the granularity gives {granularity_bin(expected[2])}"


def _summaries(
    store: Store, plan: Json, sidecars: Mapping[int, Json], counts: Counter[tuple[str, int]]
) -> Iterator[Finding]:
    for path in (MANIFEST, SAMPLING_FILE, CARD):
        if not store.exists(path):
            yield Finding(path, "is missing; run the command that made the database again to write it")
    if store.exists(MANIFEST):
        yield from _manifest(store, make_manifest(plan, sidecars))
    if store.exists(SAMPLING_FILE):
        sampling = _table(store, SAMPLING_FILE, SAMPLING)
        if isinstance(sampling, Finding):
            yield sampling
        elif sampling.to_pylist() != sampling_table(counts).to_pylist():
            yield Finding(SAMPLING_FILE, "differs from what the rows give")


def _manifest(store: Store, expected: Json) -> Iterator[Finding]:
    try:
        manifest = store.read_json(MANIFEST, dict[str, Any], limits.PLAN_BYTES)
        checked(manifest.get(SUMMARIES, {}), dict[str, str], MANIFEST)
    except UnusableFileError as error:
        yield Finding(MANIFEST, error.what)
        return
    except JsonError as error:
        yield Finding(MANIFEST, error.said)
        return
    if without_summaries(manifest) != expected:
        yield Finding(MANIFEST, "differs from what the plan and the sidecars give")
    # Version 0.1 of this program wrote no checksum of the card.
    card = manifest.get(SUMMARIES, {}).get(CARD)
    if not card or not store.exists(CARD):
        return
    try:
        content = store.read(CARD, limits.JSON_BYTES)
    except UnusableFileError as error:
        yield Finding(CARD, error.what)
        return
    if hashlib.sha256(content).hexdigest() != card:
        yield Finding(CARD, "was changed after it was written")
