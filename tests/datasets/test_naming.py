"""Whose data a database says that it has."""

import errno
import os
from dataclasses import replace

import pytest

from agg_pipeline.datasets.dataset import Published
from agg_pipeline.datasets.naming import FILE, LONGEST, NOTHING_SAID, Naming, checked, recognised, unknown_licence
from agg_pipeline.datasets.registry import DATASETS, open_dataset
from agg_pipeline.storage import disk
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.records import ImageEntry
from tests.datasets.writers import write_palette, write_photo

OWN = Naming("Streets", "CC0-1.0", "Lee 2025", "https://streets.example")


@pytest.fixture
def root(tmp_path):
    """Photographs of anybody in the layout of PASCAL VOC."""
    write_photo(tmp_path / "JPEGImages/street.jpg")
    write_palette(tmp_path / "SegmentationObject/street.png", [[1] * 30] * 20)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("street\n")
    return tmp_path


def said(root, naming=NOTHING_SAID):
    dataset = open_dataset("pascal_voc", str(root), None, naming)
    licence = dataset.read(dataset.entries[0]).licence
    assert licence == dataset.about.licence
    assert dataset.name == "pascal_voc", "the layout keys random numbers"
    return Naming(dataset.called, licence, dataset.about.citation, dataset.about.homepage)


def test_a_layout_alone_says_nothing(root):
    assert said(root) == Naming("unknown (layout of pascal_voc)", "unknown", "unknown", "")


def test_the_user_comes_before_the_file_and_the_file_before_nothing(root):
    assert said(root, OWN) == OWN
    (root / FILE).write_text('licence = "MIT"\ncitation = "file"\n')
    assert said(root) == Naming("unknown (layout of pascal_voc)", "MIT", "file", "")
    assert said(root, Naming(citation="mine")) == Naming("unknown (layout of pascal_voc)", "MIT", "mine", "")


def test_the_published_set_is_recognised_by_number_and_ids(root, monkeypatch):
    known = DATASETS["pascal_voc"]
    about = replace(known.about, published={"train": Published(1, "street")})

    def listed(store: Store, split: str):
        return replace(known.open(store, split), about=about)

    monkeypatch.setitem(DATASETS, "pascal_voc", replace(known, open=listed))
    assert said(root) == Naming("pascal_voc", about.licence, about.citation, about.homepage)
    assert said(root, OWN) == OWN
    for other in ({"train": Published(2, "street")}, {"train": Published(1, "stree")}, {"val": Published(1, "street")}):
        about = replace(about, published=other)
        assert said(root).licence == "unknown"


@pytest.mark.parametrize(
    ("name", "split", "image_id"),
    [
        ("sbd", "train", "2008_000002"),
        ("pascal_voc", "val", "2007_000033"),
        ("pascal_part", "val", "2007_000033"),
        ("coco", "val2017", "139"),
        ("partimagenet", "val", "n01440764_10029"),
    ],
)
def test_the_ids_of_published_sets_have_the_form_that_is_asked_for(name, split, image_id, toy_dataset):
    about = DATASETS[name].about
    entries = tuple(ImageEntry(image_id, "x", 1, None) for _ in range(about.published[split].images))
    dataset = replace(toy_dataset, about=about, split=split, entries=entries)
    assert recognised(dataset)
    assert not recognised(replace(dataset, entries=entries[1:]))
    assert not recognised(replace(dataset, entries=(ImageEntry("ecssd_1", "x", 1, None), *entries[1:])))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('license = "MIT"', "unknown key 'license'; possible: name, licence, citation, homepage"),
        ("licence = 3", "licence is not a text of one line with at most 1000 characters"),
        ('licence = "a\\nb"', "licence is not a text of one line"),
        ('name = "a\\u001b[2J"', "name is not a text of one line"),
        (f'name = "{"a" * (LONGEST + 1)}"', "name is not a text of one line"),
        ('homepage = "javascript:alert(1)"', "is not an address"),
        ("licence", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(root, content, what):
    (root / FILE).write_text(content)
    with pytest.raises(UserError) as caught:
        said(root)
    assert str(caught.value).startswith(f"{root}/{FILE}")
    assert what in str(caught.value)


def test_a_file_that_is_not_there_for_an_instant_is_no_missing_one(root, monkeypatch):
    (root / FILE).write_text('licence = "MIT"')
    real, asked = disk.read_regular, []

    def fail(place, limit):
        asked.extend([place] if place.endswith(FILE) else [])
        if len(asked) == 1 and place.endswith(FILE):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return real(place, limit)

    monkeypatch.setattr(disk, "read_regular", fail)
    assert said(root).licence == "MIT"
    assert len(asked) > 1


def test_options_are_checked_as_the_file_is():
    assert checked({"name": "Café"}, "--") == Naming("Café")
    with pytest.raises(UserError, match="--licence is not a text of one line"):
        checked({"licence": "a\udcff"}, "--")


def test_an_unknown_licence_is_noted(root):
    (note,) = unknown_licence(open_dataset("pascal_voc", str(root), None), str(root))
    assert f"in the file {root}/{FILE}, or afterwards with agg database describe" in note
    assert unknown_licence(open_dataset("pascal_voc", str(root), None, OWN), str(root)) == []
    assert unknown_licence(open_dataset("demo", "", None), "") == []
