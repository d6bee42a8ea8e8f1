"""Files that cannot be read now, and files that never can."""

import errno
import os
import stat
import uuid
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from agg_pipeline.storage import disk
from agg_pipeline.storage.attempts import attempt, cause
from agg_pipeline.storage.local_file import replace_file
from agg_pipeline.storage.object_store import ObjectStore
from agg_pipeline.storage.store import Store
from schemas.errors import StorageError, UnusableFileError

PASSING = (errno.EIO, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)


class Failing:
    """An action that fails some times, and then succeeds."""

    def __init__(self, error, times):
        self.error, self.times, self.calls = error, times, 0

    def __call__(self):
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


@pytest.mark.parametrize("number", PASSING)
def test_what_fails_in_passing_is_tried_again(number):
    action = Failing(OSError(number, os.strerror(number)), 3)
    assert attempt("a/file", action) == "done"
    assert action.calls == 4


@pytest.mark.parametrize("number", PASSING)
def test_what_fails_every_time_names_file_and_cause(number):
    action = Failing(OSError(number, os.strerror(number)), 99)
    with pytest.raises(StorageError, match=f"^cannot read a/file: {os.strerror(number)}$"):
        attempt("a/file", action)
    assert action.calls == 4


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), FileNotFoundError),
        (OSError(errno.ENOTDIR, "x"), FileNotFoundError),
        (OSError(errno.ENAMETOOLONG, "x"), FileNotFoundError),
        (ValueError("embedded null byte"), FileNotFoundError),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), FileNotFoundError),
        (OSError(errno.EISDIR, "x"), UnusableFileError),
        (OSError(errno.ELOOP, "x"), UnusableFileError),
        (OSError(errno.ENXIO, "x"), UnusableFileError),
    ],
)
def test_what_another_attempt_does_not_change_is_tried_once(error, kind):
    action = Failing(error, 99)
    with pytest.raises(kind):
        attempt("a/file", action)
    assert action.calls == 1


def test_a_mistake_in_the_program_is_not_hidden():
    with pytest.raises(KeyError):
        attempt("a/file", Failing(KeyError("x"), 1))


def test_the_libraries_of_object_stores_have_errors_of_their_own():
    action = Failing(RuntimeError("Slow Down\nrequest id 7"), 99)
    with pytest.raises(StorageError, match=r"^cannot write s3://a/b: Slow Down$"):
        attempt("s3://a/b", action, "write", disk=False)
    assert attempt("s3://a/b", Failing(RuntimeError("x"), 3), disk=False) == "done"


def test_a_short_answer_of_an_object_store_is_tried_again(monkeypatch):
    store = Store(f"memory://{uuid.uuid4()}")
    store.write("image.png", b"all of it")
    filesystem, whole, calls = type(fsspec.filesystem("memory")), b"all of it", []

    def cut(_self, path, *_, **__):
        calls.append(path)
        return whole[:4] if len(calls) < most else whole

    monkeypatch.setattr(filesystem, "cat_file", cut)
    most = 3
    assert store.read("image.png") == whole
    calls.clear()
    most = 99
    with pytest.raises(StorageError, match=r"^cannot read memory://\S+/image\.png: only 4 of 9 bytes came$"):
        store.read_listed("image.png")
    assert len(calls) == 4


def test_a_key_that_is_a_file_and_the_beginning_of_others_is_the_file():
    items = [
        {"name": "bucket/set/a.jpg", "size": 0, "type": "directory"},
        {"name": "bucket/set/a.jpg", "size": 7, "type": "file"},
        {"name": "bucket/set/b", "size": 0, "type": "directory"},
        {"name": "bucket/set/c.jpg", "size": 5, "type": "file"},
        {"name": "bucket/set/c.jpg/", "size": 0, "type": "directory"},
        {"name": "bucket/set/", "size": 0, "type": "file"},
    ]
    library = SimpleNamespace(invalidate_cache=lambda: None, ls=lambda _place, detail: items if detail else None)
    store = ObjectStore(library)
    assert store.entries("bucket/set") == [("a.jpg", 7), ("b", None), ("c.jpg", 5)]
    assert store.names("bucket/set") == ["a.jpg", "b", "c.jpg"]


def test_a_cause_on_its_second_line():
    assert cause(ValueError("Parameter validation failed:\n  Invalid bucket name \x1b\nmore")) == (
        "Parameter validation failed: Invalid bucket name \\x1b"
    )


@pytest.fixture
def odd(tmp_path):
    """A folder with everything that is no regular file."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "file").write_bytes(b"12345")
    return Store(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("folder", "is a folder"),
        ("pipe", "is a pipe"),
        ("zero", "is a device or socket"),
        ("loop", "is a loop of links"),
    ],
)
def test_only_regular_files_are_read(odd, name, what):
    for read in (odd.read, odd.open, odd.read_listed):
        with pytest.raises(UnusableFileError) as error:
            read(name)
        assert (error.value.where, error.value.what) == (f"{odd.url}/{name}", what)


@pytest.mark.parametrize("name", ["pipe", "zero"])
def test_devices_and_pipes_are_not_replaced(odd, name):
    before = Path(odd.url, name).lstat()
    with pytest.raises(StorageError) as error:
        odd.write(name, b"page")
    assert str(error.value) == f"cannot write {odd.url}/{name}: a device or a pipe lies there"
    with pytest.raises(StorageError, match=r"cannot write \S+: a device or a pipe lies there$"):
        replace_file(Path(odd.url, name), b"adapter")
    after = Path(odd.url, name).lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert len(odd.names()) == 5


@pytest.mark.parametrize("name", ["none", "file/none", "a\0b", "\ud800", "x" * 5000])
def test_names_that_no_file_has(odd, name):
    with pytest.raises(FileNotFoundError):
        odd.read(name)
    assert not odd.exists(name)


def test_what_lies_in_the_place_of_a_file_is_listed_without_bytes(odd):
    Path(odd.url, "broken").symlink_to("nowhere")
    assert dict(odd.listing("")) == {"file": 5, "loop": 0, "pipe": 0, "zero": 0}
    assert dict(odd.entries("")) == {"file": 5, "folder": None, "loop": 0, "pipe": 0, "zero": 0}
    assert odd.names() == ["broken", "file", "folder", "loop", "pipe", "zero"]
    assert odd.sizes(["file", "folder", "broken", "pipe", "zero"]) == {"file": 5, "pipe": 0, "zero": 0}


@pytest.mark.parametrize(("name", "taken"), [("file", True), ("folder", True), ("broken", True), ("none", False)])
def test_a_link_to_nothing_takes_a_name(odd, name, taken):
    Path(odd.url, "broken").symlink_to("nowhere")
    assert odd.is_taken(name) is taken


def test_a_link_to_the_folder_around_it_is_not_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(".")
    assert Store(str(tmp_path)).files() == ["a"]


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_file_above_its_limit_is_not_read(tmp_path, kind):
    store = Store(str(tmp_path)) if kind == "disk" else Store("memory://limits")
    store.write("file", b"12345")
    assert store.read("file", 5) == b"12345"
    with pytest.raises(UnusableFileError, match=r"file has 5 bytes; the limit of such files is 4$"):
        store.read("file", 4)


def test_a_listed_file_that_has_gone_stops_the_run(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    with pytest.raises(StorageError, match="was there when its folder was listed, and is not there now"):
        store.read_listed("file")
    found = [FileNotFoundError(), FileNotFoundError(), b"back"]

    def flicker(_place, _limit):
        first = found.pop(0)
        if isinstance(first, Exception):
            raise first
        return first

    monkeypatch.setattr(disk, "read_regular", flicker)
    assert store.read_listed("file") == b"back"


def test_a_listed_file_of_another_size_is_read_again_and_then_stops_the_run(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.write("file", b"page")
    assert store.read_listed("file") == store.read_listed("file", size=4) == b"page"
    with pytest.raises(StorageError, match=r"listed, and has 4 bytes now instead of 9$"):
        store.read_listed("file", size=9)
    found = [b"<html>", b"<html>", b"right"]
    monkeypatch.setattr(disk, "read_regular", lambda _place, _limit: found.pop(0))
    assert store.read_listed("file", size=5) == b"right"


@pytest.mark.parametrize("method", ["exists", "is_file", "files", "names"])
def test_a_folder_that_cannot_be_looked_at_is_not_taken_for_missing(tmp_path, monkeypatch, method):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for name in ("stat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(StorageError, match=r"^cannot read .*: Permission denied$"):
        getattr(Store(str(tmp_path)), method)()


def test_listing_a_folder_that_cannot_be_looked_at(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match=r"^cannot read .*: Permission denied$"):
        list(Store(str(tmp_path)).listing(""))


def test_removing_ends_in_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"^cannot delete .*folder: Is a directory$"):
        Store(str(tmp_path)).remove("folder")


def test_the_cause_of_a_failed_write_is_not_hidden_by_the_clean_up(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(disk.Path, "unlink", read_only)
    with pytest.raises(StorageError, match=r"^cannot write .*: No space left on device$"):
        Store(str(tmp_path)).write("a", b"x")


def test_rewriting_never_makes_a_file(tmp_path):
    store = Store(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        store.rewrite("a", b"x")
    assert not store.exists("a")
    store.write("a", b"one")
    mode = stat.S_IMODE((tmp_path / "a").stat().st_mode)
    store.rewrite("a", b"two")
    assert store.read("a") == b"two"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_rewriting_does_not_wait_for_a_pipe(odd):
    with pytest.raises(UnusableFileError, match=r"pipe is a device or a pipe$"):
        odd.rewrite("pipe", b"x")


def test_a_put_whose_answer_was_lost_counts_as_made(monkeypatch):
    store = Store("memory://lost-answer")
    filesystem = fsspec.filesystem("memory")
    put = type(filesystem).pipe_file
    answers = []

    def lose_the_first(self, path, value, mode="overwrite"):
        put(self, path, value, mode=mode)
        answers.append(path)
        if len(answers) == 1:
            raise RuntimeError("connection reset")

    monkeypatch.setattr(type(filesystem), "pipe_file", lose_the_first)
    assert store.create("lock", b"mine")
    assert not store.create("lock", b"yours")
