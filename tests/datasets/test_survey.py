"""Surveying images: what they hold, and every kind of problem that a check finds."""

import os
import signal
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from agg_pipeline.datasets import all_cores
from agg_pipeline.datasets.dataset import Dataset, no_strays
from agg_pipeline.datasets.generated import ABOUT
from agg_pipeline.datasets.parts import part_class
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.survey import ImageFacts, check, counted, survey
from schemas.crop import crop_mask
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask
from tests.datasets.writers import square, write_palette, write_photo, write_pixels

SHAPE = 20, 30


def crop(*place):
    return crop_mask(square(SHAPE, *place), *SHAPE)


WHOLE = crop(2, 2, 16, 20)
HEAD = PartMask("head", "head", "head", crop(3, 3, 5, 5))
EMPTY = crop(0, 0, 0, 0)


def dataset_of(*images, ignore=None, strays=()):
    """A set whose images hold the given objects, or raise the given error."""

    def read(entry):
        content = images[entry.annotation]
        if isinstance(content, Exception):
            raise content
        pixels = np.zeros((*SHAPE, 3), np.uint8)
        return ImageRecord(entry.image_id, entry.path, "", "", pixels, tuple(content), ignore)

    entries = tuple(ImageEntry(str(number), f"images/{number}.jpg", 1, number) for number in range(len(images)))
    return Dataset(ABOUT, "val", entries, "", read, (), lambda: strays)


def findings_of(*objects):
    return [finding.what for finding in check(dataset_of(objects))]


def test_good_image_has_no_finding():
    assert findings_of(ObjectMask(1, "dog", WHOLE, (HEAD,)), ObjectMask(2, None, WHOLE)) == []
    assert findings_of() == []


@pytest.mark.parametrize(
    ("objects", "finding"),
    [
        ([ObjectMask(3, None, WHOLE)] * 2, "object id 3 occurs 2 times"),
        ([ObjectMask(-1, None, WHOLE)], "object id -1 is negative"),
        ([ObjectMask(4, None, EMPTY)], "object 4 has no pixel"),
        (
            [ObjectMask(1, None, WHOLE, (HEAD, PartMask("eye", "eye", "eye", EMPTY)))],
            "part eye of object 1 has no pixel",
        ),
        (
            [ObjectMask(1, None, WHOLE, (PartMask("eye", "eye", "eye", crop(0, 22, 9, 8)),))],
            "part eye of object 1 lies outside its object",
        ),
        (
            [ObjectMask(1, None, WHOLE, (PartMask("eye", "eye", "eye", HEAD.mask, "face"),))],
            "part eye of object 1 has a parent face that does not exist",
        ),
    ],
)
def test_problem_of_a_mask_is_found_once(objects, finding):
    assert findings_of(*objects) == [finding]


def test_part_that_is_there_twice_is_found():
    assert set(findings_of(ObjectMask(1, None, WHOLE, (HEAD, HEAD)))) == {"part head of object 1 occurs 2 times"}


def test_part_may_lie_a_little_outside_its_object():
    rough = PartMask("tail", "tail", "tail", crop(5, 18, 4, 8))
    assert findings_of(ObjectMask(1, None, WHOLE, (rough,))) == []


def test_image_that_cannot_be_read_is_found_and_the_others_are_still_looked_at():
    broken = ImageError("size_mismatch", "masks/0.png is 3x4, its image 20x30 (rows x columns)")
    dataset = dataset_of(broken, [ObjectMask(1, None, EMPTY)])
    assert [(finding.where, finding.what) for finding in check(dataset)] == [
        ("images/0.jpg", "size_mismatch: masks/0.png is 3x4, its image 20x30 (rows x columns)"),
        ("images/1.jpg", "object 1 has no pixel"),
    ]


def dies(entry):
    """Reads an image, or is killed as by a broken file that crashes its decoder."""
    if entry.annotation == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return ImageRecord(entry.image_id, entry.path, "", "", np.zeros((*SHAPE, 3), np.uint8), ())


@pytest.mark.parametrize("few", [0, 64])
def test_image_that_kills_its_reader_is_one_finding(monkeypatch, few):
    monkeypatch.setattr(all_cores, "FEW", few)
    dataset = replace(dataset_of([], [], [], []), reader=dies, strays=no_strays)
    (finding,) = check(dataset)
    assert (finding.where, finding.what) == (
        "images/1.jpg",
        "killed_worker: the process that read it did not finish: it was killed by SIGKILL",
    )
    assert counted(list(survey(dataset))).unreadable == 1


def test_strays_are_found_after_the_images():
    dataset = dataset_of([ObjectMask(1, None, EMPTY)], strays=("masks/x.png belongs to no image in images",))
    assert [finding.what for finding in check(dataset)] == [
        "object 1 has no pixel",
        "masks/x.png belongs to no image in images",
    ]


def test_counts_cover_the_images_that_can_be_read():
    dataset = dataset_of(
        [ObjectMask(1, "dog", WHOLE, (HEAD,)), ObjectMask(2, "dog", WHOLE), ObjectMask(3, None, WHOLE)],
        ImageError("unreadable_image", "no"),
        [ObjectMask(1, "car", WHOLE, (PartMask("wheel_2", "wheel_2", "wheel 2", HEAD.mask),))],
        [],
        ignore=HEAD.mask,
    )
    counts = counted(list(survey(dataset)))
    assert (counts.images, counts.unreadable, counts.objects, counts.parts, counts.ignoring) == (3, 1, 4, 2, 3)
    assert counts.sizes == {SHAPE: 3}
    assert counts.per_image == {3: 1, 1: 1, 0: 1}
    assert counts.classes == {"dog": 2, None: 1, "car": 1}
    assert counts.part_classes == {"dog head": 1, "car wheel": 1}


@pytest.mark.parametrize(("ignore", "count"), [(None, 0), (EMPTY, 0), (HEAD.mask, 1)])
def test_only_images_with_ignored_pixels_are_counted_as_such(ignore, count):
    assert counted(list(survey(dataset_of([], ignore=ignore)))).ignoring == count


def test_counts_of_nothing_are_zero():
    counts = counted([])
    assert (counts.images, counts.unreadable, counts.objects, counts.sizes) == (0, 0, 0, Counter())
    assert counted([ImageFacts("1.jpg", 0, 0, (), 0, ("x",))]).unreadable == 1


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        write_photo(tmp_path / "images" / f"{number}.jpg", *SHAPE, seed=number)
        write_palette(tmp_path / "masks" / f"{number}.png", square(SHAPE, 2, 2, number, 9) * (number + 1))
    return tmp_path


def test_several_processes_find_the_same_in_the_same_order(folder, monkeypatch):
    dataset = open_dataset("folder", str(folder), None)
    alone = list(survey(dataset))
    monkeypatch.setattr(all_cores, "FEW", 0)
    monkeypatch.setattr(all_cores, "CHUNK", 2)
    assert list(survey(dataset)) == alone
    assert [facts.path for facts in alone] == [entry.path for entry in dataset.entries]
    assert len(alone) == 5


def test_every_broken_file_of_a_folder_is_found(folder):
    masks, images = folder / "masks", folder / "images"
    (images / "0.jpg").write_bytes((images / "0.jpg").read_bytes()[:-60])
    (masks / "1.png").unlink()
    write_palette(masks / "2.png", square((30, 20), 1, 1, 5, 5))
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (*SHAPE, 3), np.uint8)).save(masks / "3.png")
    write_pixels(masks / "9.png", np.zeros(SHAPE, np.uint8))
    found = [(finding.where, finding.what) for finding in check(open_dataset("folder", str(folder), None))]
    assert [where for where, _ in found] == [*(f"images/{number}.jpg" for number in range(4)), "folder"]
    whats = [what for _, what in found]
    assert whats[0].startswith("unreadable_image: images/0.jpg: ")
    assert whats[1] == "unreadable_annotation: masks has no mask for images/1.jpg"
    swapped = "its image 20x30 (rows x columns); height and width are swapped"
    assert whats[2] == f"size_mismatch: masks/2.png is 30x20, {swapped}"
    assert whats[3] == "unreadable_annotation: masks/3.png has colours; ids are grey levels or palette indices"
    assert whats[4] == "masks/9.png belongs to no image in images"


@pytest.mark.parametrize(
    ("category", "name", "expected"),
    [
        ("dog", "left ear", "dog left ear"),
        ("car", "wheel 2", "car wheel"),
        ("Quadruped", "quadruped head", "quadruped head"),
        (None, "9", "9"),
        (None, "wheel 12", "wheel"),
        ("person", "person", "person"),
        # A name that only begins with the letters of the object class does not name the object.
        ("car", "cargo bed", "car cargo bed"),
    ],
)
def test_class_of_a_part_in_words(category, name, expected):
    assert part_class(ObjectMask(1, category, WHOLE), PartMask("1", "x", name, HEAD.mask)) == expected


def test_real_samples_count_as_their_files(parts_mini):
    counts = counted(list(survey(open_dataset("partimagenet", str(parts_mini), "val"))))
    truth, sizes = Counter(), Counter()
    for path in (parts_mini / "annotations" / "val").glob("*.png"):
        with Image.open(path) as image:
            labels = np.asarray(image)
        truth.update(np.unique(labels[labels != 40]).tolist())
        sizes[labels.shape] += 1
    assert (counts.images, counts.objects, counts.parts) == (50, 50, truth.total())
    assert sorted(counts.part_classes.values()) == sorted(truth.values())
    assert counts.sizes == sizes
