"""Which folder a run may write to, and what of an earlier run it keeps."""

import glob
import json
import shutil
import threading

import fsspec
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.execution import resuming
from agg_pipeline.execution.resuming import claim, foreign_tables
from agg_pipeline.execution.shard_files import PLAN, listing, sidecars
from agg_pipeline.storage.disk import TEMPORARY
from agg_pipeline.storage.lock import LOCK
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.tables import FILES
from tests.execution.test_shard_files import edit_sidecar, flip, sealed, truncate

STRAYS = {
    ".gitattributes": b"*.parquet filter=lfs",
    ".git/config": b"[core]",
    ".DS_Store": b"\0",
    "Thumbs.db": b"\0",
    "desktop.ini": b"[.ShellClassInfo]",
    "images/.DS_Store": b"\0",
    "proposals/.ipynb_checkpoints/part-00000.parquet": b"",
    "shards/Thumbs.db": b"\0",
    "shards/._part-00000.json": b"\0",
}
"""What git, macOS and Windows leave in folders."""


def snapshot(store):
    return {path: store.read(path) for path in store.files()}


def test_finished_shards_are_kept(built, toy_plan):
    before = snapshot(built)
    found = claim(built, DATABASE_LAYOUT, toy_plan)
    assert found == sidecars(built, DATABASE_LAYOUT)
    assert list(found) == [0, 1, 2]
    assert snapshot(built) == before


def test_nothing_is_read_twice_and_no_table_at_all(built, toy_plan, monkeypatch):
    read, listed, written = [], [], []
    original = Store.read_all, Store.read, Store.entries
    monkeypatch.setattr(
        Store, "read_all", lambda self, paths, *limit: read.extend(paths) or original[0](self, paths, *limit)
    )
    monkeypatch.setattr(Store, "read", lambda self, path, *limit: read.append(path) or original[1](self, path, *limit))
    monkeypatch.setattr(Store, "entries", lambda self, folder: listed.append(folder) or original[2](self, folder))
    monkeypatch.setattr(Store, "write", lambda _self, path, _content: written.append(path))
    claim(built, DATABASE_LAYOUT, toy_plan)
    assert sorted(read) == ["plan.json", *(f"shards/part-0000{n}.json" for n in range(3))]
    assert sorted(listed) == ["", "images", "proposals", "rejects", "shards"]
    assert written == []


def test_shards_of_another_configuration_are_dropped(built, toy_plan):
    for index in (0, 2):
        edit_sidecar(built, index, config_hash="another")
    assert list(claim(built, DATABASE_LAYOUT, toy_plan)) == [1]
    assert list(sidecars(built, DATABASE_LAYOUT)) == [1]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("harm", [truncate, flip, None])
def test_damaged_shard_is_dropped_with_all_its_files(built, toy_plan, name, verify, harm):
    path = f"{name}/part-00001.parquet"
    if harm is None:
        built.remove(path)
    else:
        built.write(path, harm(built.read(path)))
    # The same size with another content is found only by the checksum.
    kept = [0, 1, 2] if harm is flip and not verify else [0, 2]
    assert list(claim(built, DATABASE_LAYOUT, toy_plan, verify=verify)) == kept
    assert list(sidecars(built, DATABASE_LAYOUT)) == kept
    assert {int(path[-13:-8]) for path in built.files() if path.endswith(".parquet")} == set(kept)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"shard": 1}', None])
def test_shard_with_a_broken_sidecar_is_dropped_with_all_its_files(built, toy_plan, content, caplog):
    path = "shards/part-00001.json"
    before = snapshot(built)
    built.write(path, built.read("shards/part-00000.json") if content is None else content)
    assert list(claim(built, DATABASE_LAYOUT, toy_plan)) == [0, 2]
    gone = {f"{name}/part-00001.parquet" for name in FILES} | {path}
    assert snapshot(built) == {path: each for path, each in before.items() if path not in gone}
    (message,) = caplog.messages
    assert message.startswith(f"{built.url}/{path} ")
    assert message.endswith("; its shard is made again")


def test_broken_sidecars_protect_the_files_of_another_plan(built, toy_plan):
    for number in range(3):
        built.write(f"shards/part-0000{number}.json", b"{")
    before = snapshot(built)
    with pytest.raises(UserError):
        claim(built, DATABASE_LAYOUT, toy_plan | {"seed": 7, "config_hash": "another"})
    assert snapshot(built) == before
    assert claim(built, DATABASE_LAYOUT, toy_plan) == {}


def test_checksums_are_compared_in_several_threads(built, toy_plan, monkeypatch):
    threads = set()
    # All three shards are in work at the same time, or the barrier breaks.
    together = threading.Barrier(3, timeout=30)

    def noted(_store, _sidecar):
        together.wait()
        threads.add(threading.get_ident())
        return []

    monkeypatch.setattr(resuming, "damage", noted)
    assert list(claim(built, DATABASE_LAYOUT, toy_plan, verify=True)) == [0, 1, 2]
    assert len(threads) == 3
    assert threading.get_ident() not in threads


def test_leftovers_of_killed_runs_are_removed(built, toy_plan):
    before = snapshot(built)
    for path in (
        f"proposals/{TEMPORARY}part-00000.parquet-abc",
        f"{TEMPORARY}plan.json-abc",
        f"shards/{TEMPORARY}part-00002.json-abc",
        "proposals/part-00007.parquet",
        "images/part-00007.parquet",
    ):
        built.write(path, b"left")
    claim(built, DATABASE_LAYOUT, toy_plan)
    assert snapshot(built) == before
    built.remove("shards/part-00001.json")
    claim(built, DATABASE_LAYOUT, toy_plan)
    gone = {f"{name}/part-00001.parquet" for name in FILES} | {"shards/part-00001.json"}
    assert set(built.files()) == set(before) - gone


def test_plan_under_which_nothing_is_finished_gives_way(built, toy_plan):
    shutil.rmtree(f"{built.url}/shards")
    built.write_json(PLAN, toy_plan | {"seed": 7})
    assert claim(built, DATABASE_LAYOUT, toy_plan) == {}
    assert snapshot(built) == {PLAN: built.read(PLAN)}
    assert built.read_json(PLAN) == toy_plan
    built.write(PLAN, b"\0\0")
    assert claim(built, DATABASE_LAYOUT, toy_plan) == {}
    assert built.read_json(PLAN) == toy_plan


@pytest.mark.parametrize("content", [b"\0\0", None])
def test_shards_whose_plan_is_lost_are_only_overwritten(built, toy_plan, content):
    if content is None:
        built.remove(PLAN)
    else:
        built.write(PLAN, content)
    before = snapshot(built)
    with pytest.raises(UserError, match=r"holds shards, but no plan\.json that can be read"):
        claim(built, DATABASE_LAYOUT, toy_plan)
    assert snapshot(built) == before
    assert claim(built, DATABASE_LAYOUT, toy_plan, overwrite=True) == {}
    assert built.files() == [PLAN]


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_in_our_folder_stay(built, toy_plan, overwrite):
    strays = STRAYS | dict.fromkeys(
        ("notes.txt", "shards/notes.txt", "images/_SUCCESS", "figures/part-00009.parquet"), b"mine"
    )
    for path, content in strays.items():
        built.write(path, content)
    built.write(LOCK, b"{}")
    assert list(claim(built, DATABASE_LAYOUT, toy_plan, overwrite)) == ([] if overwrite else [0, 1, 2])
    assert {path: content for path, content in snapshot(built).items() if path in strays} == strays
    own = {path for path in built.files() if path not in strays}
    assert own == {PLAN, LOCK} if overwrite else len(own) == 14


def test_what_desktops_leave_does_not_make_a_folder_somebody_elses(tmp_path, toy_plan):
    store = Store(str(tmp_path))
    for path, content in STRAYS.items():
        store.write(path, content)
    store.write(LOCK, b"{}")
    store.write(f"{TEMPORARY}plan.json-abc", b"")
    assert claim(store, DATABASE_LAYOUT, toy_plan) == {}
    assert set(store.files()) == {PLAN, LOCK, *STRAYS}


@pytest.mark.parametrize(
    "path",
    [
        *("thesis/chapter1.tex", "README.md", "images/cat.jpg", "proposals/part-1.parquet", "plan.json"),
        *(".bashrc", ".ssh/config", ".config/app/settings"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_of_somebody_else_is_refused_and_left_alone(tmp_path, toy_plan, path, overwrite):
    store = Store(str(tmp_path))
    store.write(path, json.dumps({"steps": ["precious"]}).encode())
    before = snapshot(store)
    with pytest.raises(UserError) as error:
        claim(store, DATABASE_LAYOUT, toy_plan, overwrite)
    assert str(error.value) == f"{store.url} holds {path} and is not a proposal database; choose another output folder"
    assert snapshot(store) == before


@pytest.mark.parametrize("path", [".git/config", ".gitattributes", ".DS_Store", "._plan.json", "Thumbs.db", ".nfs0001"])
def test_what_programs_leave_in_folders_is_not_in_the_way(tmp_path, toy_plan, path):
    store = Store(str(tmp_path))
    store.write(path, b"x")
    assert claim(store, DATABASE_LAYOUT, toy_plan) == {}
    assert store.read(path) == b"x"


def test_overwrite_that_was_killed_can_be_repeated(built, toy_plan, monkeypatch):
    """Wherever it stops, no shard looks finished that lacks a file, and the folder is still ours."""
    content = snapshot(built)
    files = len(content)
    remove = Store.remove
    for number in range(files):
        left = [number]

        def dies(self, path, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            remove(self, path)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "remove", dies)
            with pytest.raises(KeyboardInterrupt):
                claim(built, DATABASE_LAYOUT, toy_plan, overwrite=True)
        whole = {index for index in range(3) if all(built.exists(f"{name}/part-0000{index}.parquet") for name in FILES)}
        assert set(sidecars(built, DATABASE_LAYOUT)) <= whole
        assert claim(built, DATABASE_LAYOUT, toy_plan, overwrite=True) == {}
        assert built.files() == [PLAN]
        for path, each in content.items():
            built.write(path, each)


def test_folder_in_an_object_store(built, toy_plan):
    remote = Store("memory://resuming-test/db")
    try:
        for path in built.files():
            remote.write(path, built.read(path))
        remote.write("images/part-00002.parquet", b"cut")
        remote.write("notes.txt", b"mine")
        assert claim(remote, DATABASE_LAYOUT, toy_plan) == {
            index: sidecar for index, sidecar in sidecars(built, DATABASE_LAYOUT).items() if index < 2
        }
        assert claim(remote, DATABASE_LAYOUT, toy_plan, overwrite=True) == {}
        assert remote.files() == ["notes.txt", PLAN]
    finally:
        fsspec.filesystem("memory").rm("/resuming-test", recursive=True)


@pytest.mark.parametrize("place", [1, 9, 99_999])
@pytest.mark.parametrize("seal", [False, True])
def test_planted_shard_is_removed(built, toy_plan, place, seal):
    """Inside of the plan without its checksum, or beyond the plan with whatever checksum."""
    before = snapshot(built)
    rename = {f"{name}/part-00000.parquet": f"{name}/part-{place:05d}.parquet" for name in FILES}
    planted = built.read_json("shards/part-00000.json")
    planted |= {"shard": place, "files": {rename[path]: file for path, file in planted["files"].items()}}
    for old, new in rename.items():
        built.write(new, built.read(old))
    built.write_json(f"shards/part-{place:05d}.json", sealed(planted) if seal else planted)
    found = claim(built, DATABASE_LAYOUT, toy_plan)
    if place > 1:
        assert list(found) == [0, 1, 2]
        assert snapshot(built) == before
    elif not seal:
        assert list(found) == [0, 2]
        assert not any(path.endswith(("part-00001.parquet", "part-00001.json")) for path in built.files())


@pytest.mark.parametrize("changes", [{"images": 0}, {"images": 4}])
def test_shard_that_covers_other_images_than_planned_is_dropped(built, toy_plan, changes):
    edit_sidecar(built, 1, **changes)
    assert list(claim(built, DATABASE_LAYOUT, toy_plan)) == [0, 2]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("proposals/extra.parquet", "images/part-1.parquet", "rejects/a b.parquet", "proposals/part-00000.PARQUET"),
        *("images/copy.parq", "images/Thumbs.db", "rejects/notes.txt", "proposals/_x.parquet", "images/_metadata"),
    ],
)
def test_foreign_tables_are_refused_and_left_alone(built, toy_plan, name, overwrite):
    built.write(name, b"mine")
    before = snapshot(built)
    with pytest.raises(UserError) as error:
        claim(built, DATABASE_LAYOUT, toy_plan, overwrite)
    assert str(error.value) == (
        f"{built.url}/{name} would be read as a part of a proposal database; move it to another folder"
    )
    assert snapshot(built) == before


@pytest.mark.parametrize("name", ["x/a.parquet", "z.parquet/b", "part-00000.parquet/b", "link"])
def test_foreign_folders_are_refused_and_left_alone(built, toy_plan, tmp_path, name):
    place = tmp_path / "out/database/images" / name
    if name == "link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    else:
        built.remove("images/part-00000.parquet")
        place.parent.mkdir()
        place.write_bytes(b"mine")
    with pytest.raises(UserError) as error:
        claim(built, DATABASE_LAYOUT, toy_plan)
    folder = name.partition("/")[0]
    assert str(error.value).startswith(f"{built.url}/images/{folder} would be read as a part of a proposal database")
    assert place.exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["shards/part-00001.json", "shards/part-00009.json", "README.md"])
def test_folders_in_the_place_of_files_are_refused_and_left_alone(built, toy_plan, tmp_path, name, overwrite):
    place = tmp_path / "out/database" / name
    place.unlink(missing_ok=True)
    place.mkdir()
    with pytest.raises(UserError) as error:
        claim(built, DATABASE_LAYOUT, toy_plan, overwrite)
    said = "is a folder, and a proposal database has a file there; move the folder away"
    assert str(error.value) == f"{built.url}/{name} {said}"
    assert place.exists()


NAMES = (
    *("x.parquet", "x.PARQUET", "x.parq", "x.txt", "x", ".x.parquet", "._x.parquet", "_x.parquet", "_x", "_SUCCESS"),
    *("Thumbs.db", "desktop.ini", "Icon\r", "_metadata", "_common_metadata", "d/x.parquet", "d.parquet/x"),
    *(".d/x.parquet", "_d/x.parquet", "link/x.parquet"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", ["table", "junk"])
def test_what_readers_of_a_folder_take_for_a_table_is_foreign(built, tmp_path, name, content):
    """A table of the same columns is read, junk is an error; glob finds what DuckDB and Polars read."""
    folder = tmp_path / "out/database/images"
    if name.startswith("link/"):
        (tmp_path / "elsewhere").mkdir()
        (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "part-00000.parquet", folder / name)
    if content == "junk":
        (folder / name).write_bytes(b"junk")
    tables = [folder / f"part-0000{number}.parquet" for number in range(3)]
    rows = sum(pq.read_metadata(path).num_rows for path in tables)
    taken = {str(path) for path in tables} != set(glob.glob(f"{folder}/*.parquet"))  # noqa: PTH207
    for read in (pq.read_table, pandas.read_parquet):
        try:
            taken |= len(read(str(folder))) != rows
        except pa.ArrowInvalid:
            taken = True
    found = foreign_tables(DATABASE_LAYOUT, listing(built, DATABASE_LAYOUT))
    first = name.partition("/")[0]
    # Whether _metadata is read depends on its content.
    if taken or not first.endswith("_metadata"):
        assert found == ([f"images/{first}"] if taken else [])


def test_foreign_folder_in_an_object_store(built, toy_plan):
    remote = Store("memory://marked-test/db")
    files = fsspec.filesystem("memory")
    try:
        for path in built.files():
            remote.write(path, built.read(path))
        assert len(claim(remote, DATABASE_LAYOUT, toy_plan)) == 3
        remote.write("images/deep/x.parquet", b"mine")
        with pytest.raises(UserError, match=r"db/images/deep would be read as a part"):
            claim(remote, DATABASE_LAYOUT, toy_plan)
    finally:
        files.rm("/marked-test", recursive=True)


@pytest.mark.parametrize("content", [b"[]", None])
def test_finished_database_without_its_plan_says_how_to_go_on(built, toy_plan, content):
    finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    built.remove(PLAN)
    if content is not None:
        built.write(PLAN, content)
    before = snapshot(built)
    with pytest.raises(UserError) as error:
        claim(built, DATABASE_LAYOUT, toy_plan)
    assert str(error.value) == (
        f"{built.url} holds shards, but no plan.json that can be read; choose another output folder, or use "
        "--overwrite to delete them"
    )
    assert snapshot(built) == before
    assert claim(built, DATABASE_LAYOUT, toy_plan, overwrite=True) == {}
    assert built.files() == [PLAN]


def test_only_the_seed_of_the_plan_is_edited(built, toy_plan):
    built.write_json(PLAN, toy_plan | {"seed": 7})
    with pytest.raises(UserError, match=r"Different: seed: 7 -> 0$"):
        claim(built, DATABASE_LAYOUT, toy_plan)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' + b"1" * 5000 + b"}", b'{"a": NaN}', b""])
def test_plan_that_cannot_be_read_is_one_line(built, toy_plan, content):
    built.write(PLAN, content)
    with pytest.raises(UserError, match=r"holds shards, but no plan\.json that can be read"):
        claim(built, DATABASE_LAYOUT, toy_plan)
