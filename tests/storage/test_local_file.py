"""Files of this machine: what is opened, and replacing them as a whole or not at all."""

from pathlib import Path

import pytest

from agg_pipeline.storage.local_file import replace_file, replacing
from schemas.errors import StorageError


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_true_cause_is_reported_where_nothing_can_be_deleted_either(tmp_path, monkeypatch):
    path = tmp_path / "file"

    def unlink(_path, **_options):
        raise OSError(30, "Read-only file system")

    with pytest.raises(StorageError) as error, replacing(path) as file:
        file.write(b"half")
        monkeypatch.setattr(Path, "unlink", unlink)
        raise OSError(28, "No space left on device")
    assert str(error.value) == f"cannot write {path}: No space left on device"
    assert not path.exists()


def test_a_full_disk_is_one_line():
    with pytest.raises(StorageError, match="cannot write /dev/full/file: Not a directory"):
        replace_file(Path("/dev/full/file"), b"content")


def test_what_is_left_of_another_write_is_not_written_into(tmp_path):
    (tmp_path / "dear").write_bytes(b"dear")
    (tmp_path / ".file.tmp").symlink_to("dear")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "dear").read_bytes() == b"dear"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()
