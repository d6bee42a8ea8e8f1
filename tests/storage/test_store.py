"""The storage port on a disk and on an object store (fsspec's memory file system)."""

import errno
import gc
import os
import uuid
import weakref
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from agg_pipeline.datasets.all_cores import in_all_cores
from agg_pipeline.storage.disk import TEMPORARY
from agg_pipeline.storage.store import Store
from schemas.errors import StorageError, UserError


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path):
    if request.param == "disk":
        yield Store(str(tmp_path / "db"))
        return
    root = f"memory://{uuid.uuid4().hex}/db"
    yield Store(root)
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)


def test_write_and_read(store):
    store.write("a/b/c.bin", b"one")
    assert store.read("a/b/c.bin") == b"one"
    store.write("a/b/c.bin", b"three")
    assert store.read("a/b/c.bin") == b"three"
    with store.open("a/b/c.bin") as file:
        assert file.read(2) == b"th"
    assert store.below("a/b").read("c.bin") == b"three"
    assert store.files() == ["a/b/c.bin"]


def test_many_files_are_read_in_their_order(store):
    contents = {f"a/{n}.txt": b"x" * n for n in range(100)}
    for path, content in contents.items():
        store.write(path, content)
    order = sorted(contents, reverse=True)
    assert list(store.read_all(order)) == [contents[path] for path in order]
    assert list(store.read_all([])) == []
    with pytest.raises(FileNotFoundError):
        list(store.read_all(["a/1.txt", "a/none.txt"]))


def test_files_are_sorted_and_relative(store):
    for path in ("z.txt", "a/2.txt", "a/10.txt", "b/c/d.txt"):
        store.write(path, b"x")
    assert store.files() == ["a/10.txt", "a/2.txt", "b/c/d.txt", "z.txt"]
    assert store.files("a") == ["a/10.txt", "a/2.txt"]
    assert store.files("nowhere") == []
    assert Store(store.url + "/").files("a") == ["a/10.txt", "a/2.txt"]


def test_sizes(store):
    store.write("a/1.txt", b"x")
    store.write("a/2.txt", b"xyz")
    store.write("a/deep/3.txt", b"xyz")
    store.write("a/empty.txt", b"")
    assert store.sizes(["a/1.txt", "a/deep/3.txt", "a/empty.txt", "a/no.txt", "no/1.txt"]) == {
        "a/1.txt": 1,
        "a/deep/3.txt": 3,
        "a/empty.txt": 0,
    }


def test_exists_and_remove(store):
    assert not store.exists()
    assert not store.exists("a")
    store.write("a/1.txt", b"x")
    assert store.exists()
    assert store.exists("a")
    assert store.exists("a/1.txt")
    store.remove("a/1.txt")
    store.remove("a/1.txt")
    assert not store.exists("a/1.txt")
    with pytest.raises(FileNotFoundError):
        store.read("a/1.txt")
    with pytest.raises(FileNotFoundError):
        store.open("a/1.txt")


def test_where_a_folder_lies(store, tmp_path):
    assert Store(f"{store.url}/").lies_in(store)
    assert store.below("a").lies_in(store)
    assert not store.lies_in(store.below("a"))
    assert not Store(f"{store.url}2").lies_in(store)
    assert not Store("memory://").lies_in(Store("/"))
    (tmp_path / "link").symlink_to(tmp_path)
    assert Store(f"{tmp_path}/link/a").lies_in(Store(str(tmp_path)))
    assert Store(f"{tmp_path}/a/../b").lies_in(Store(f"{tmp_path}/b"))


def test_create_is_exclusive(store):
    assert store.create("lock", b"mine")
    assert not store.create("lock", b"yours")
    assert store.read("lock") == b"mine"
    store.remove("lock")
    assert store.create("lock", b"yours")


def test_json_is_the_same_text_for_the_same_value(store):
    store.write_json("a.json", {"b": [1, 2.5], "a": "é"})
    text = store.read("a.json")
    store.write_json("a.json", {"a": "é", "b": [1, 2.5]})
    assert store.read("a.json") == text
    assert "é".encode() in text
    assert store.read_json("a.json") == {"a": "é", "b": [1, 2.5]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1} x'])
def test_broken_json_is_a_user_error(store, content):
    store.write("a.json", content)
    with pytest.raises(UserError, match=r"a\.json is not JSON"):
        store.read_json("a.json")


def test_missing_json_is_a_user_error(store):
    with pytest.raises(UserError, match=r"a\.json does not exist"):
        store.read_json("a.json")


def test_unknown_scheme_is_a_user_error():
    with pytest.raises(UserError, match="nosuch"):
        Store("nosuch://bucket/db").read("a")


@pytest.mark.parametrize("url", ["zip://::{}", "tar://::{}", "tar://x::file://{}", "reference://x", "filecache://x"])
def test_what_fsspec_cannot_open_is_one_line(tmp_path, url):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\3\4 no archive")
    url = url.format(broken)
    with pytest.raises(UserError) as error:
        Store(url).exists()
    assert str(error.value).startswith(f"cannot open {url}: ")
    assert "\n" not in str(error.value)


def _full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failing_write_leaves_no_file_and_nothing_temporary(tmp_path, monkeypatch, before, failing):
    store = Store(str(tmp_path))
    if before is not None:
        store.write("a/file.bin", before)
    with monkeypatch.context() as patch:
        if failing == "fsync":
            patch.setattr(os, "fsync", _full_disk)
        else:
            patch.setattr(Path, "replace", _full_disk)
        with pytest.raises(StorageError, match="No space left"):
            store.write("a/file.bin", b"new content")
    found = [path.name for path in (tmp_path / "a").iterdir()]
    assert found == ([] if before is None else ["file.bin"])
    assert before is None or store.read("a/file.bin") == before


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Store(str(tmp_path)).write("file.bin", b"x")
    assert list(tmp_path.iterdir()) == []


def test_file_appears_as_a_whole_under_its_name(tmp_path, monkeypatch):
    seen = []
    real = os.fsync

    def look(descriptor):
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    store = Store(str(tmp_path))
    store.write("file.bin", b"x" * 1000)
    store.write("file.bin", b"y" * 1000)
    assert len(seen[0]) == 1
    assert seen[0][0].startswith(TEMPORARY)
    assert seen[1][-1] == "file.bin"
    assert seen[0][0] not in seen[1]
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_sizes_follow_links(tmp_path):
    (tmp_path / "file").write_bytes(b"four")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert Store(str(tmp_path)).sizes(["link"]) == {"link": 4}


class Connected(MemoryFileSystem):
    """A file system that closes its connections when it is deleted, as s3fs does."""

    protocol = "connected"
    closed: ClassVar[list[int]] = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        weakref.finalize(self, self.closed.append, os.getpid())


def closed_here(name):
    """The connections that are closed in this process after a look at a file."""
    Store("connected://folder").exists(name)
    gc.collect()
    return len(Connected.closed)


def test_a_copy_of_the_process_closes_no_connections_of_the_original():
    fsspec.register_implementation("connected", Connected, clobber=True)
    assert closed_here("a") == 0
    assert list(in_all_cores(closed_here, ["a", "b"], lambda _, how: pytest.fail(how))) == [0, 0]
