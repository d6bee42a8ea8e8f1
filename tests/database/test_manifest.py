"""The database on disk: plan, shards, sidecars, manifest, and the rules of resuming."""

import copy
import dataclasses
import hashlib
import io
import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import make_manifest
from agg_pipeline.database.sampling import sampling_table
from agg_pipeline.execution.plan import make_plan, refuse_other_plan
from agg_pipeline.execution.resuming import claim, delete, drop_damaged, refuse_foreign_files, remove_leftovers
from agg_pipeline.execution.shard_files import PLAN, damage, parquet_bytes, sidecars
from agg_pipeline.proposals.pipeline import shard_tables, write_shard
from agg_pipeline.storage.lock import LOCK
from agg_pipeline.storage.store import TEMPORARY, Store
from schemas.errors import UserError
from schemas.resolve import override
from schemas.tables import FILES, PROPOSALS, REASONS, SAMPLING

MODEL = {"architecture": "toy", "input_size": 32, "sha256": "0" * 64}
ENVIRONMENT = {"device": "cpu", "torch": "0"}


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


def test_plan_names_every_image_once_in_order(toy_dataset, toy_plan):
    assert [image for shard in toy_plan["shards"] for image in shard] == [e.image_id for e in toy_dataset.entries]
    assert [len(shard) for shard in toy_plan["shards"]] == [3, 3, 2]
    assert toy_plan["dataset"]["images"] == 8
    assert json.loads(json.dumps(toy_plan)) == toy_plan


def test_hash_of_the_plan_changes_with_all_that_changes_the_result(toy_dataset, toy_config, toy_plan):
    def hashed(dataset=toy_dataset, model=MODEL, environment=ENVIRONMENT, config=toy_config):
        return make_plan(DATABASE_LAYOUT, dataset, model, environment, config)["config_hash"]

    others = [
        hashed(dataset=dataclasses.replace(toy_dataset, fingerprint="0" * 32)),
        hashed(dataset=dataclasses.replace(toy_dataset, split="train")),
        hashed(model=MODEL | {"sha256": "1" * 64}),
        hashed(environment=ENVIRONMENT | {"torch": "1"}),
        hashed(config=override(toy_config, {"seed": 1})),
        hashed(config=override(toy_config, {"loop": {"max_draws": 3}})),
        hashed(config=override(toy_config, {"predictor": {"threads": 2}})),
        hashed(config=override(toy_config, {"batch": {"batch_objects": 2}})),
    ]
    assert hashed() == toy_plan["config_hash"]
    assert len({toy_plan["config_hash"], *others}) == 1 + len(others)


def test_other_plan_is_refused_with_the_difference(built, toy_dataset, toy_config, toy_plan):
    refuse_other_plan(built, toy_plan)
    other = make_plan(
        DATABASE_LAYOUT, toy_dataset, MODEL, ENVIRONMENT, override(toy_config, {"seed": 3, "loop": {"keep": "last"}})
    )
    with pytest.raises(UserError) as error:
        refuse_other_plan(built, other)
    message = str(error.value)
    assert 'config.loop.keep: "all" -> "last"' in message
    assert "config.seed: 0 -> 3" in message
    assert "config.masks" not in message
    assert "\n" not in message
    shuffled = copy.deepcopy(toy_plan)
    shuffled["shards"].reverse()
    with pytest.raises(UserError, match="shards"):
        refuse_other_plan(built, shuffled)


def test_sidecar_says_what_its_files_hold(built, toy_plan):
    found = sidecars(built, DATABASE_LAYOUT)
    assert list(found) == [0, 1, 2]
    for sidecar in found.values():
        assert sidecar["config_hash"] == toy_plan["config_hash"]
        assert set(sidecar["files"]) == {f"{name}/part-{sidecar['shard']:05d}.parquet" for name in FILES}
        for path, said in sidecar["files"].items():
            content = built.read(path)
            assert said["bytes"] == len(content)
            assert said["sha256"] == hashlib.sha256(content).hexdigest()
            assert said["rows"] == pq.read_metadata(io.BytesIO(content)).num_rows
    assert [sidecar["images"] for sidecar in found.values()] == [3, 3, 2]


def test_sidecar_is_written_last(tmp_path, toy_plan, toy_shards, monkeypatch):
    order = []
    write = Store.write
    monkeypatch.setattr(Store, "write", lambda self, path, content: order.append(path) or write(self, path, content))
    write_shard(toy_shards[1], Store(str(tmp_path)), toy_plan["config_hash"])
    assert len(order) == 4
    assert order[-1] == "shards/part-00001.json"


def test_shards_of_another_configuration_are_dropped(built, toy_plan):
    drop_damaged(built, DATABASE_LAYOUT, toy_plan["config_hash"])
    assert sorted(sidecars(built, DATABASE_LAYOUT)) == [0, 1, 2]
    drop_damaged(built, DATABASE_LAYOUT, "another")
    assert not sidecars(built, DATABASE_LAYOUT)


def truncate(content):
    return content[:-10]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("harm", "said"), [(truncate, "bytes"), (flip, "checksum"), (None, "missing")])
def test_damage_is_found_and_named(built, toy_plan, name, harm, said):
    path = f"{name}/part-00001.parquet"
    if harm is None:
        built.remove(path)
    else:
        built.write(path, harm(built.read(path)))
    found = sidecars(built, DATABASE_LAYOUT)
    (problem,) = damage(built, found[1])
    assert path in problem
    assert said in problem
    assert damage(built, found[0]) == []
    drop_damaged(built, DATABASE_LAYOUT, toy_plan["config_hash"])
    assert sorted(sidecars(built, DATABASE_LAYOUT)) == [0, 2]


def test_leftovers_of_killed_runs_are_removed(built):
    before = {path: built.read(path) for path in built.files()}
    for path in (
        f"proposals/{TEMPORARY}part-00000.parquet-abc",
        f"{TEMPORARY}plan.json-abc",
        f"shards/{TEMPORARY}part-00002.json-abc",
        "proposals/part-00007.parquet",
        "images/part-00007.parquet",
    ):
        built.write(path, b"left")
    remove_leftovers(built, DATABASE_LAYOUT)
    assert {path: built.read(path) for path in built.files()} == before
    built.remove("shards/part-00001.json")
    remove_leftovers(built, DATABASE_LAYOUT)
    gone = {f"{name}/part-00001.parquet" for name in FILES} | {"shards/part-00001.json"}
    assert set(built.files()) == set(before) - gone


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


def test_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    store = Store(str(tmp_path))
    refuse_foreign_files(store, DATABASE_LAYOUT)
    store.write(LOCK, b"{}")
    store.write(f"{TEMPORARY}plan.json-abc", b"")
    refuse_foreign_files(store, DATABASE_LAYOUT)
    store.write("thesis/chapter1.tex", b"precious")
    with pytest.raises(UserError, match=r"thesis/chapter1\.tex"):
        refuse_foreign_files(store, DATABASE_LAYOUT)
    with pytest.raises(UserError, match=r"thesis/chapter1\.tex"):
        claim(store, DATABASE_LAYOUT, {}, overwrite=True)
    assert store.read("thesis/chapter1.tex") == b"precious"


def test_overwrite_deletes_the_database_but_not_the_lock(built):
    built.write(LOCK, b"{}")
    delete(built)
    assert built.files() == [LOCK]
