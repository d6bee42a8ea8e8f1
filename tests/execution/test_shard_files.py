"""The files of a shard: its sidecar, and how damage to the others is found."""

import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.execution.shard_files import damage, listing, parquet_table, read_table, sidecars
from agg_pipeline.proposals.pipeline import write_shard
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.tables import FILES


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
        (
            b'{"shard": "1", "config_hash": "", "images": 1, "files": {}, "kinds": {}, "rejects": {}}',
            "says that it belongs",
        ),
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
        built.write_json(f"shards/part-{index}.json", sidecar | {"shard": index})
    assert list(sidecars(built, DATABASE_LAYOUT)) == [0, 1, 2, 99_999, 100_000]


def test_some_columns_of_a_table(built):
    path = "proposals/part-00000.parquet"
    whole = read_table(built, path)
    assert whole.equals(pq.read_table(io.BytesIO(built.read(path))))
    some = read_table(built, path, ["bin", "click", "kind"])
    assert some.column_names == ["bin", "click", "kind"]
    assert some.equals(whole.select(["bin", "click", "kind"]))
    assert some.schema.field("bin").metadata == whole.schema.field("bin").metadata
    with pytest.raises(KeyError, match="nothing"):
        read_table(built, path, ["bin", "nothing"])
    built.write(path, b"PAR1 junk")
    with pytest.raises(pa.ArrowInvalid):
        parquet_table(built, path)


@pytest.mark.parametrize("size", [0, 3, 40, -10])
def test_damaged_table_is_one_line(built, size):
    path = "proposals/part-00000.parquet"
    built.write(path, built.read(path)[:size])
    with pytest.raises(UserError) as error:
        read_table(built, path, ["bin"])
    message = str(error.value)
    assert message.startswith(f"{built.url}/{path} cannot be read (")
    assert message.endswith("); run the command that made it again with --verify, which makes damaged shards again")
    assert "\n" not in message
    built.remove(path)
    with pytest.raises(UserError) as error:
        read_table(built, path, advice="do something")
    assert str(error.value) == f"{built.url}/{path} is missing; do something"
