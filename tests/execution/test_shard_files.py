"""The files of a shard: its sidecar, and how damage to the others is found."""

import hashlib
import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.execution.parquet_files import parquet_table, read_table
from agg_pipeline.execution.plan import stamp_of
from agg_pipeline.execution.shard_files import (
    checksum,
    damage,
    listing,
    publish,
    read_sidecars,
    sidecar_files,
    sidecars,
)
from agg_pipeline.proposals.pipeline import write_shard
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import UserError
from schemas.tables import FILES, PROPOSALS


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


def test_sidecar_is_written_by_itself(tmp_path, toy_plan, toy_shards):
    store = Store(str(tmp_path))
    sidecar = write_shard(toy_shards[1], store, stamp_of(DATABASE_LAYOUT, toy_plan))
    assert sorted(store.files()) == sorted(sidecar["files"]) == sorted(DATABASE_LAYOUT.files(1))
    publish(store, sidecar)
    assert sidecars(store, DATABASE_LAYOUT) == {1: sidecar}


def sealed(sidecar):
    """A sidecar with the checksum of its content."""
    return sidecar | {"checksum": checksum(sidecar)}


def edit_sidecar(store, index, **changes):
    """Change keys of a sidecar, as if a run had written it so."""
    path = f"shards/part-{index:05d}.json"
    store.write_json(path, sealed(store.read_json(path) | changes))


def truncate(content):
    return content[:-10]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("harm", "said"), [(truncate, "bytes"), (flip, "checksum"), (None, "missing")])
def test_damage_is_found_and_named(built, name, harm, said):
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


def test_listing_has_the_sizes_of_all_files_of_the_layout(built):
    built.write("deep/part-00000.parquet", b"somebody's")
    sizes = listing(built, DATABASE_LAYOUT)
    assert sizes == {path: len(built.read(path)) for path in built.files() if not path.startswith("deep")}
    assert len(sizes) == 13
    assert listing(built.below("nowhere"), DATABASE_LAYOUT) == {}


def test_files_of_others_beside_the_sidecars_are_passed_over(built):
    # macOS puts the second one beside a file on some disks.
    for name in (".DS_Store", "._part-00000.json", "part-00000.json.bak", "notes.json", "part-0.json"):
        built.write(f"shards/{name}", b"\0\1 no sidecar")
    assert list(sidecars(built, DATABASE_LAYOUT)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "is not a sidecar"),
        (b'{"shard": 1}', "is not a sidecar"),
        (b'{"format_version": 1, "shard": "1"}', "is not a sidecar: expected int, got str, at shard"),
        (b"[" * 200_000, "is nested deeper"),
        (b'{"shard": ' + b"1" * 5000 + b"}", "integer value out of range"),
        (None, "says that it belongs to shard 0"),
    ],
)
def test_damaged_sidecar_is_named(built, content, said):
    built.write("shards/part-00001.json", built.read("shards/part-00000.json") if content is None else content)
    with pytest.raises(UserError, match=rf"shards/part-00001\.json {said}.*; run the command that made it again"):
        sidecars(built, DATABASE_LAYOUT)


def test_sidecars_are_in_the_order_of_the_shards(built):
    sidecar = built.read_json("shards/part-00000.json")
    for index in (100_000, 99_999):
        files = {f"{name}/part-{index}.parquet": {"rows": 0, "bytes": 0, "sha256": ""} for name in FILES}
        built.write_json(f"shards/part-{index}.json", sealed(sidecar | {"shard": index, "files": files}))
    assert list(sidecars(built, DATABASE_LAYOUT)) == [0, 1, 2, 99_999, 100_000]


def test_some_columns_of_a_table(built):
    path = "proposals/part-00000.parquet"
    whole = read_table(built, path, PROPOSALS)
    assert whole.equals(pq.read_table(io.BytesIO(built.read(path))))
    some = read_table(built, path, PROPOSALS, ["bin", "click", "kind"])
    assert some.column_names == ["bin", "click", "kind"]
    assert some.equals(whole.select(["bin", "click", "kind"]))
    assert some.schema.field("bin").metadata == whole.schema.field("bin").metadata
    with pytest.raises(KeyError, match="nothing"):
        read_table(built, path, PROPOSALS, ["bin", "nothing"])
    built.write(path, b"PAR1 junk")
    with pytest.raises(pa.ArrowInvalid):
        parquet_table(built, path, PROPOSALS)


@pytest.mark.parametrize("size", [0, 3, 40, -10])
def test_damaged_table_is_one_line(built, size):
    path = "proposals/part-00000.parquet"
    built.write(path, built.read(path)[:size])
    with pytest.raises(UserError) as error:
        read_table(built, path, PROPOSALS, ["bin"])
    message = str(error.value)
    assert message.startswith(f"{built.url}/{path} cannot be read (")
    assert message.endswith("); run the command that made it again with --verify, which makes damaged shards again")
    assert "\n" not in message
    built.remove(path)
    with pytest.raises(UserError) as error:
        read_table(built, path, PROPOSALS, advice="do something")
    assert str(error.value) == f"{built.url}/{path} is missing; do something"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": 1}, "was changed after it was written"),
        ({"kinds": {"object": 99}}, "was changed after it was written"),
        ({"rejects": {"small": 99}}, "was changed after it was written"),
        ({"extra": 1}, "was changed after it was written"),
        ({"checksum": "0"}, "was changed after it was written"),
        ({"files": {}}, "does not list the files of its shard"),
        ({"format_version": 9}, "has format 9 instead of 1"),
        ({"images": -2}, "is not a sidecar: expected int >= 0, at images"),
        ({"images": "2"}, "is not a sidecar: expected int, got str, at images"),
        ({"images": None}, "is not a sidecar: expected int, got null, at images"),
        ({"images": float("nan")}, "is not JSON: invalid character"),
        ({"shard": False}, "is not a sidecar: expected int, got bool, at shard"),
        ({"kinds": [1]}, "is not a sidecar: expected object, got array, at kinds"),
        ({"kinds": {"object": "x"}}, "is not a sidecar: expected int, got str, at kinds[...]"),
        ({"rejects": None}, "is not a sidecar: expected object, got null, at rejects"),
        ({"files": {"../../dev/zero": {"rows": 1, "bytes": 1, "sha256": ""}}}, "does not list the files"),
        ({"files": {"a\0": {"rows": 1, "bytes": 1, "sha256": ""}}}, "is not a sidecar: expected str without NUL"),
        ({"files": {"proposals/part-00001.parquet": {}}}, "is not a sidecar: object missing required field rows"),
    ],
)
def test_sidecar_edited_by_hand_is_broken(built, change, said):
    path = "shards/part-00001.json"
    built.write_json(path, built.read_json(path) | change)
    found, broken = read_sidecars(built, DATABASE_LAYOUT, {path: 1})
    assert found == {}
    assert broken[path].startswith(said), broken


def test_sidecar_without_a_checksum_is_not_compared(built):
    """Version 0.1 wrote none."""
    path = "shards/part-00001.json"
    old = {key: value for key, value in built.read_json(path).items() if key != "checksum"}
    built.write_json(path, old)
    assert sidecars(built, DATABASE_LAYOUT)[1] == old


def test_large_sidecar_of_an_object_store_is_not_read():
    """There, sizes are known from the listing alone."""
    store = Store("memory://large-sidecar")
    store.write("shards/part-00000.json", bytes(limits.SIDECAR_BYTES + 1))
    found, broken = read_sidecars(store, DATABASE_LAYOUT, sidecar_files(store))
    assert found == {}
    assert broken == {"shards/part-00000.json": "has 1,048,577 bytes; the limit is 1,048,576"}


def test_large_sidecar_is_not_read(built):
    built.write("shards/part-00001.json", b" " * (limits.SIDECAR_BYTES + 1))
    with pytest.raises(UserError, match=r"part-00001\.json has 1,048,577 bytes; the limit is 1,048,576"):
        sidecars(built, DATABASE_LAYOUT)


@pytest.mark.parametrize("place", ["folder", "pipe"])
def test_what_is_no_file_is_damage(built, place):
    path = Path(built.url) / "images/part-00001.parquet"
    path.unlink()
    path.mkdir() if place == "folder" else os.mkfifo(path)
    assert damage(built, sidecars(built, DATABASE_LAYOUT)[1]) == [f"images/part-00001.parquet is a {place}"]


@pytest.mark.parametrize("place", ["empty", "pipe", "loop"])
def test_what_is_no_file_is_no_sidecar(built, place):
    path = Path(built.url) / "shards/part-00001.json"
    path.unlink()
    if place == "loop":
        path.symlink_to(path)
    else:
        path.touch() if place == "empty" else os.mkfifo(path)
    found, broken = read_sidecars(built, DATABASE_LAYOUT, sidecar_files(built))
    assert list(found) == [0, 2]
    assert broken == {"shards/part-00001.json": "is not JSON: it is empty, or no file"}
