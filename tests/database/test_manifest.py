"""The tables of a database and its summaries: manifest and sampling weights."""

import hashlib
import io
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.contents import CARD, DATABASE_LAYOUT, MANIFEST, SAMPLING_FILE
from agg_pipeline.database.manifest import finish, finished, make_manifest
from agg_pipeline.database.sampling import sampling_table
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.execution.resuming import claim
from agg_pipeline.execution.shard_files import PLAN, sidecars
from agg_pipeline.proposals.pipeline import shard_tables
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.numbers import granularity_bin
from schemas.tables import FILES, PROPOSALS, REASONS, SAMPLING
from tests.execution.test_shard_files import edit_sidecar


def test_same_rows_same_bytes(toy_shards):
    table = shard_tables(toy_shards[0])["proposals"]
    assert table.num_rows > 5
    content = parquet_bytes(table)
    assert parquet_bytes(table) == content
    assert parquet_bytes(pa.Table.from_pylist(table.to_pylist(), PROPOSALS)) == content
    assert parquet_bytes(table.slice(0, table.num_rows - 1)) != content


def test_same_rows_same_bytes_however_they_were_put_together(toy_shards):
    table = shard_tables(toy_shards[0])["proposals"]
    parts = pa.concat_tables([table.slice(0, 2), table.slice(2, 3), table.slice(5)])
    assert parts.equals(table)
    assert parquet_bytes(parts) == parquet_bytes(table)


@pytest.mark.parametrize("name", FILES)
def test_parquet_keeps_schema_units_and_values(toy_shards, name):
    table = shard_tables(toy_shards[0])[name]
    back = pq.read_table(io.BytesIO(parquet_bytes(table)))
    assert back.schema.equals(FILES[name], check_metadata=True)
    assert back.to_pylist() == table.to_pylist()
    assert all(b"unit" in field.metadata for field in back.schema)


def test_rows_are_what_the_stages_made(toy_shards):
    for state in toy_shards:
        made = shard_tables(state)
        rows = made["proposals"].to_pylist()
        assert len({row["proposal_id"] for row in rows}) == len(rows)
        objects = [row for row in rows if row["kind"] == "object"]
        others = [row for row in rows if row["kind"] != "object"]
        assert len(objects) == len(state.targets)
        assert len(others) == len(state.estimates)
        for row in objects:
            assert (row["scale"], row["semantic"], row["granularity"], row["bin"]) == (1.0, 1.0, 1.0, 10)
            assert [row[name] for name in ("peak_proposal", "peak_object", "click", "clicks", "step", "parent_id")] == [
                None
            ] * 6
        for row, estimate in zip(others, state.estimates, strict=True):
            assert row["parent_id"] in {item["proposal_id"] for item in objects}
            assert row["bin"] == estimate.bin
            assert row["granularity"] == np.float32(estimate.granularity)
            assert [click["positive"] for click in row["clicks"]] == [True] + [False] * row["step"]
            assert row["proposal_id"] == f"{row['image_id']}:{row['instance_id']}:{row['kind']}:{row['step']}"
            box = row["bbox"]
            assert box["x"] + box["w"] <= row["width"]
            assert box["y"] + box["h"] <= row["height"]
            assert box["y"] <= row["click"]["row"] < box["y"] + box["h"]
            assert box["x"] <= row["click"]["col"] < box["x"] + box["w"]
        assert {row["reason"] for row in made["rejects"].to_pylist()} <= set(REASONS)
    kinds = Counter(row["kind"] for state in toy_shards for row in shard_tables(state)["proposals"].to_pylist())
    assert min(kinds[kind] for kind in ("object", "part", "complement")) > 3


def test_images_that_cannot_be_used_are_rejects(toy_shards):
    images = [row["image_id"] for state in toy_shards for row in shard_tables(state)["images"].to_pylist()]
    assert images == [f"im_{n}" for n in range(8) if n != 6]
    lost = [
        (row["image_id"], row["reason"], row["instance_id"])
        for state in toy_shards
        for row in shard_tables(state)["rejects"].to_pylist()
        if row["stage"] == "load"
    ]
    assert lost == [("im_4", "no_object", None), ("im_6", "unreadable_image", None)]


def test_manifest_adds_up(built, toy_plan, toy_shards):
    manifest = make_manifest(toy_plan, sidecars(built, DATABASE_LAYOUT))
    kinds = Counter(row["kind"] for state in toy_shards for row in shard_tables(state)["proposals"].to_pylist())
    totals = manifest["totals"]
    assert totals["proposals"] == {
        "object": kinds["object"],
        "part": kinds["part"],
        "complement": kinds["complement"],
        "annotated": 0,
    }
    assert (totals["planned_images"], totals["images"], totals["objects"]) == (8, 7, kinds["object"])
    assert totals["rejects"]["no_object"] == 1
    assert totals["rejects"]["unreadable_image"] == 1
    assert totals["bytes"] == sum(len(built.read(path)) for path in built.files() if path.endswith(".parquet"))
    assert manifest["complete"]
    assert (manifest["licence"], manifest["citation"]) == ("a licence", "a citation")
    assert manifest["plan"]["config_hash"] == toy_plan["config_hash"]


def test_manifest_of_a_part_is_not_complete_and_can_be_rebuilt(built, toy_plan):
    whole = make_manifest(toy_plan, sidecars(built, DATABASE_LAYOUT))
    assert make_manifest(built.read_json(PLAN), sidecars(Store(built.url), DATABASE_LAYOUT)) == whole
    found = sidecars(built, DATABASE_LAYOUT)
    del found[1]
    manifest = make_manifest(toy_plan, found)
    assert not manifest["complete"]
    assert manifest["totals"]["planned_images"] == 5
    assert [sidecar["shard"] for sidecar in manifest["shards"]] == [0, 2]


def test_sampling_table_by_hand():
    counts = Counter({("part", 3): 2, ("object", 10): 5, ("complement", 3): 1, ("complement", 10): 2})
    table = sampling_table(counts)
    assert table.schema.equals(SAMPLING, check_metadata=True)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("object", 10, 5, 0.7, pytest.approx(1 / 0.7)),
        ("part", 3, 2, 0.3, pytest.approx(1 / 0.3)),
        ("complement", 3, 1, 0.3, pytest.approx(1 / 0.3)),
        ("complement", 10, 2, 0.7, pytest.approx(1 / 0.7)),
    ]
    assert sampling_table(Counter()).num_rows == 0


def test_finished_database_is_known_by_its_summaries(built, toy_plan, monkeypatch):
    found = sidecars(built, DATABASE_LAYOUT)
    assert finished(built, toy_plan, found) is None
    manifest = finish(built, toy_plan, found)
    # No table is opened to know it.
    monkeypatch.setattr(Store, "open", None)
    assert finished(built, toy_plan, found) == manifest == built.read_json(MANIFEST)
    # The manifest is that of other shards.
    assert finished(built, toy_plan, {0: found[0], 2: found[2]}) is None
    for name in (MANIFEST, SAMPLING_FILE, CARD):
        content = built.read(name)
        built.remove(name)
        assert finished(built, toy_plan, found) is None
        built.write(name, content)
    assert finished(built, toy_plan, found) == manifest
    built.write(MANIFEST, b"{")
    assert finished(built, toy_plan, found) is None


@pytest.mark.parametrize("name", [SAMPLING_FILE, CARD])
def test_changed_summaries_are_written_again(built, toy_plan, name):
    found = sidecars(built, DATABASE_LAYOUT)
    manifest = finish(built, toy_plan, found)
    content = built.read(name)
    built.write(name, bytes(len(content)))
    assert finished(built, toy_plan, found) is None
    assert finish(built, toy_plan, found) == manifest
    assert built.read(name) == content


def test_manifest_of_version_01_is_written_again(built, toy_plan):
    found = sidecars(built, DATABASE_LAYOUT)
    manifest = finish(built, toy_plan, found)
    built.write_json(MANIFEST, {key: value for key, value in manifest.items() if key != "summaries"})
    assert finished(built, toy_plan, found) is None


@pytest.mark.parametrize("content", [b"[" * 200_000, b"[]", b'{"plan": 1}', b'{"a": NaN}'])
def test_manifest_that_is_none_is_written_again(built, toy_plan, content):
    found = sidecars(built, DATABASE_LAYOUT)
    finish(built, toy_plan, found)
    built.write(MANIFEST, content)
    assert finished(built, toy_plan, found) is None


@pytest.mark.parametrize("value", [None, [], "x", {"README.md": None}], ids=str)
def test_manifest_whose_checksums_are_none_is_written_again(built, toy_plan, value):
    found = sidecars(built, DATABASE_LAYOUT)
    manifest = finish(built, toy_plan, found)
    built.write_json(MANIFEST, manifest | {"summaries": value})
    assert finished(built, toy_plan, found) is None


@pytest.mark.parametrize("how", ["other images", "other kinds"])
def test_shard_unlike_its_plan_is_not_published(built, toy_plan, how):
    """Everything about it is consistent but the plan, or the counts of its sidecar."""
    if how == "other images":
        for name in FILES:
            built.write(f"{name}/part-00001.parquet", built.read(f"{name}/part-00000.parquet"))
        first = built.read_json("shards/part-00000.json")
        files = {path.replace("part-00000", "part-00001"): file for path, file in first["files"].items()}
        edit_sidecar(built, 1, files=files, kinds=first["kinds"], rejects=first["rejects"])
    else:
        edit_sidecar(built, 1, kinds={"object": 99})
    said = "shards/part-00001.json or the plan does not say what proposals/part-00001.parquet holds"
    with pytest.raises(UserError, match=re.escape(said)):
        finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    assert not built.exists(MANIFEST)
    assert list(sidecars(built, DATABASE_LAYOUT)) == [0, 2]


def edited(store, name, edit):
    """Edit the rows of a table of shard 1, and the sidecar so that it agrees with the file."""
    path = f"{name}/part-00001.parquet"
    rows = edit(pq.read_table(io.BytesIO(store.read(path))).to_pylist())
    content = parquet_bytes(pa.Table.from_pylist(rows, FILES[name]))
    store.write(path, content)
    facts = {"rows": len(rows), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_sidecar(store, 1, files=store.read_json("shards/part-00001.json")["files"] | {path: facts})


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("images", lambda _rows: []),
        ("images", lambda rows: rows[1:]),
        ("images", lambda rows: rows * 2),
        ("rejects", lambda rows: [*rows, rows[0]]),
        ("proposals", lambda rows: [row | {"bin": 1} for row in rows]),
        ("proposals", lambda rows: [*rows[:-1], rows[-1] | {"bin": rows[-1]["bin"] % 10 + 1}]),
        ("proposals", lambda rows: [*rows[:-1], rows[-1] | {"bin": 11}]),
        ("proposals", lambda rows: [row | {"granularity": float("nan")} for row in rows]),
        ("proposals", lambda rows: [*rows[:-1], rows[-1] | {"image_id": "im_0"}]),
        ("proposals", lambda rows: [*rows[:-1], rows[-1] | {"kind": "zzz"}]),
        ("proposals", lambda rows: rows[:-1]),
    ],
)
def test_shard_that_does_not_hold_what_it_should_is_made_again(built, toy_plan, name, edit):
    """The sidecar has the sizes and checksums of the edited tables."""
    edited(built, name, edit)
    assert list(claim(built, DATABASE_LAYOUT, toy_plan, verify=True)) == [0, 1, 2]
    said = "shards/part-00001.json or the plan does not say what proposals/part-00001.parquet holds"
    with pytest.raises(UserError, match=re.escape(said)):
        finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    assert list(claim(built, DATABASE_LAYOUT, toy_plan)) == [0, 2]


def test_bins_of_rounded_granularities(built, toy_plan):
    """A granularity halfway between two bins is stored as the float32 on either side."""
    halves = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 0.0, 0.01, 1.0]
    edited(
        built,
        "proposals",
        lambda rows: [
            row | {"granularity": halves[n % 13], "bin": granularity_bin(halves[n % 13])} for n, row in enumerate(rows)
        ],
    )
    assert finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))["complete"]


@pytest.mark.parametrize("wrong", [False, True])
def test_a_run_that_has_lost_its_folder_changes_nothing_more(built, toy_plan, wrong):
    if wrong:
        edit_sidecar(built, 1, kinds={"object": 99})
    before = {path: built.read(path) for path in built.files()}

    def lost():
        raise UserError("another run has taken it over")

    with pytest.raises(UserError, match=r"^another run has taken it over$"):
        finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT), lost)
    assert {path: built.read(path) for path in built.files()} == before
