"""What is missing when a set is listed is a reject; what cannot be read later stops the run."""

import errno
import os
import shutil

import pytest

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.storage import disk
from schemas.errors import ImageError, StorageError

SETS = {
    "sbd-mini": ("sbd", "train", "inst"),
    "grabcut-mini": ("grabcut", None, "boundary_GT"),
    "pascal-part-mini": ("pascal_part", None, "Annotations_Part"),
}


@pytest.fixture(params=sorted(SETS))
def copied(request, shared, tmp_path):
    """A small set: function that lists it, its root, and its folder of annotations."""
    name, split, annotations = SETS[request.param]
    root = tmp_path / "set"
    shutil.copytree(shared / "data" / request.param, root, copy_function=shutil.copyfile)
    return lambda: open_dataset(name, str(root), split), root, annotations


@pytest.mark.parametrize("what", ["image", "annotation"])
def test_missing_when_listed(copied, what):
    open_set, root, annotations = copied
    before = open_set()
    entry = before.entries[0]
    path = root / (entry.path if what == "image" else entry.annotation)
    path.unlink()
    listed = open_set()
    if what == "image" and annotations == "boundary_GT":
        # The images are what is listed.
        assert len(listed.entries) == len(before.entries) - 1
        return
    assert listed.fingerprint != before.fingerprint
    with pytest.raises(ImageError) as error:
        listed.read(listed.entries[0])
    assert error.value.reason == f"unreadable_{what}"
    assert "does not exist" in error.value.detail or "has no mask for" in error.value.detail
    assert str(root) not in error.value.detail


@pytest.mark.parametrize("what", ["image", "annotation"])
def test_gone_after_listing(copied, what):
    open_set, root, _ = copied
    listed = open_set()
    entry = listed.entries[0]
    (root / (entry.path if what == "image" else entry.annotation)).unlink()
    with pytest.raises(StorageError, match="was there when its folder was listed, and is not there now"):
        listed.read(entry)


def test_no_fingerprint_of_files_that_cannot_be_read(copied, monkeypatch):
    open_set, _, annotations = copied
    real = disk.read_regular

    def fail(place, limit):
        if annotations in place:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(place, limit)

    monkeypatch.setattr(disk, "read_regular", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        open_set()


@pytest.mark.parametrize("times", [1, 100])
def test_annotation_that_is_not_there_for_an_instant_is_no_reject(copied, monkeypatch, times):
    open_set, root, _ = copied
    before = open_set()
    path = str(root / before.entries[0].annotation)
    real, asked = disk.read_regular, []

    def fail(place, limit):
        asked.extend([place] if place == path else [])
        if place == path and len(asked) <= times:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return real(place, limit)

    monkeypatch.setattr(disk, "read_regular", fail)
    if times == 1:
        assert open_set().fingerprint == before.fingerprint
    else:
        with pytest.raises(StorageError, match="was there when its folder was listed, and is not there now"):
            open_set()
    assert len(asked) > 1


@pytest.mark.parametrize("kind", ["folder", "pipe", "device or socket", "loop of links"])
@pytest.mark.parametrize("what", ["image", "annotation"])
def test_what_lies_in_the_place_of_a_file_is_a_reject_that_says_so(copied, what, kind):
    open_set, root, _ = copied
    entry = open_set().entries[0]
    path = entry.path if what == "image" else entry.annotation
    (root / path).unlink()
    if kind == "folder":
        (root / path).mkdir()
    elif kind == "pipe":
        os.mkfifo(root / path)
    else:
        (root / path).symlink_to("/dev/zero" if kind == "device or socket" else root / path)
    listed = open_set()
    with pytest.raises(ImageError) as error:
        listed.read(listed.entries[0])
    assert (error.value.reason, error.value.detail) == (f"unreadable_{what}", f"{path} is a {kind}")
