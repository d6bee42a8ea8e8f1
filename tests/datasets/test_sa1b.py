"""SA-1B in its exact layout: a JSON file of compressed run lengths per image, and the evaluation's choice of masks."""

import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from agg_pipeline.datasets import sa1b
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.survey import check
from agg_pipeline.storage.store import Store
from schemas.crop import area, crop_mask, intersection
from schemas.errors import ImageError, UserError
from tests.datasets.writers import square, write_photo

SHAPE = 24, 32


def box(*place):
    return square(SHAPE, *place)


def annotation(number, mask):
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {
        "id": number,
        "segmentation": {"size": list(mask.shape), "counts": rle["counts"].decode()},
        "area": int(mask.sum()),
        "bbox": coco_mask.toBbox(rle).tolist(),
        "predicted_iou": 0.97,
        "stability_score": 0.98,
        "point_coords": [[3.5, 4.5]],
        "crop_box": [0.0, 0.0, 32.0, 24.0],
    }


def write_pair(root, stem, annotations, height=SHAPE[0], width=SHAPE[1]):
    write_photo(root / "images" / f"{stem}.jpg", *SHAPE)
    (root / "annotations").mkdir(exist_ok=True)
    image = {"image_id": int(stem.removeprefix("sa_")), "width": width, "height": height, "file_name": f"{stem}.jpg"}
    (root / "annotations" / f"{stem}.json").write_text(json.dumps({"image": image, "annotations": annotations}))


MASKS = {500000021: box(0, 0, 6, 6), 500000003: box(3, 3, 10, 10), 500000007: box(0, 0, 24, 32)}
GRID = {100 - n: box(4 * (n % 6), 4 * (n // 6), 4, 4) for n in range(36)}
"""Thirty-six masks that touch without an overlap."""
CHOSEN = [70, 72, 73, 77, 98]
"""The masks that the evaluation's seed chooses in image sa_1."""


@pytest.fixture
def root(tmp_path):
    for stem in ("sa_2", "sa_10", "sa_1"):
        write_pair(tmp_path, stem, [annotation(number, mask) for number, mask in MASKS.items()])
    return tmp_path


def record_of(root, split="all", number=0):
    dataset = open_dataset("sa1b", str(root), split)
    return dataset.read(dataset.entries[number])


def masks_of(record):
    return {instance.instance_id: instance.mask.full() for instance in record.objects}


def test_every_annotation_is_an_object_in_the_order_of_the_ids(root):
    record = record_of(root)
    assert list(masks_of(record)) == sorted(MASKS)
    for number, mask in masks_of(record).items():
        np.testing.assert_array_equal(mask, MASKS[number])
    assert (record.image_id, record.path, record.ignore) == ("sa_1", "images/sa_1.jpg", None)
    assert all(instance.category is None and instance.parts == () for instance in record.objects)


def test_listing_is_sorted_and_opens_no_file(root, monkeypatch):
    def read(_, path, _limit):
        # It says whose data these are.
        if path != "dataset.toml":
            pytest.fail(f"{path} was read")
        raise FileNotFoundError

    monkeypatch.setattr(Store, "read", read)
    monkeypatch.setattr(Store, "open", lambda _, path: pytest.fail(f"{path} was opened"))
    dataset = open_dataset("sa1b", str(root), None)
    assert dataset.split == "all"
    assert [entry.image_id for entry in dataset.entries] == ["sa_1", "sa_10", "sa_2"]
    assert [entry.size for entry in dataset.entries] == [(root / e.path).stat().st_size for e in dataset.entries]


def test_evaluation_takes_the_first_images_in_sorted_order(root, monkeypatch):
    assert len(open_dataset("sa1b", str(root), "eval").entries) == 3
    monkeypatch.setattr(sa1b, "EVAL_IMAGES", 2)
    assert [entry.image_id for entry in open_dataset("sa1b", str(root), "eval").entries] == ["sa_1", "sa_10"]
    assert len(open_dataset("sa1b", str(root), "all").entries) == 3


def test_published_numbers_of_the_evaluation():
    assert (sa1b.EVAL_IMAGES, sa1b.EVAL_MASKS) == (1000, 5)


def test_evaluation_takes_five_masks_without_an_overlap(tmp_path):
    covering = {1: box(0, 0, 24, 32), 2: box(0, 0, 12, 16), 3: box(6, 6, 12, 12)}
    masks = {**GRID, **covering}
    write_pair(tmp_path, "sa_1", [annotation(number, mask) for number, mask in masks.items()])
    found = masks_of(record_of(tmp_path, "eval"))
    assert list(found) == sorted(found)
    assert sum(mask.astype(int) for mask in found.values()).max() == 1
    assert all((mask == masks[number]).all() for number, mask in found.items())
    assert len(masks_of(record_of(tmp_path, "all"))) == len(masks)


def test_choice_does_not_depend_on_the_order_in_the_file_and_differs_between_images(tmp_path):
    annotations = [annotation(number, mask) for number, mask in GRID.items()]
    write_pair(tmp_path, "sa_1", annotations)
    write_pair(tmp_path, "sa_2", annotations)
    first = list(masks_of(record_of(tmp_path, "eval")))
    assert len(first) == 5
    assert first != list(masks_of(record_of(tmp_path, "eval", 1)))
    write_pair(tmp_path, "sa_1", annotations[::-1])
    assert list(masks_of(record_of(tmp_path, "eval"))) == first


def test_choice_matches_the_recorded_one(tmp_path):
    # Published numbers depend on the chosen masks: if this fails, they are no longer comparable.
    write_pair(tmp_path, "sa_1", [annotation(number, mask) for number, mask in GRID.items()])
    assert list(masks_of(record_of(tmp_path, "eval"))) == CHOSEN


def test_evaluation_takes_fewer_masks_where_there_are_no_five(root):
    found = masks_of(record_of(root, "eval"))
    assert 1 <= len(found) <= 2


def test_masks_without_pixels_are_not_chosen(tmp_path):
    write_pair(tmp_path, "sa_1", [annotation(1, box(0, 0, 0, 0)), annotation(2, box(0, 0, 4, 4))])
    assert list(masks_of(record_of(tmp_path, "eval"))) == [2]


boxes = st.tuples(st.integers(0, 20), st.integers(0, 28), st.integers(0, 20), st.integers(0, 20))


@settings(max_examples=30, deadline=None)
@given(st.lists(boxes, max_size=12), st.text(max_size=5))
def test_any_choice_is_separate_and_cannot_be_larger_in_its_order(places, image_id):
    masks = [(number, crop_mask(box(*place), *SHAPE)) for number, place in enumerate(places)]
    taken = sa1b.separate(masks, image_id)
    assert [number for number, _ in taken] == sorted({number for number, _ in taken})
    assert len(taken) <= 5
    assert all(area(mask) for _, mask in taken)
    assert not any(intersection(a, b) for n, (_, a) in enumerate(taken) for _, b in taken[:n])
    if len(taken) < 5:
        left = [mask for number, mask in masks if number not in dict(taken) and area(mask)]
        assert all(any(intersection(mask, other) for _, other in taken) for mask in left)
    assert [number for number, _ in sa1b.separate(masks, image_id)] == [number for number, _ in taken]


def test_split_may_be_a_list_file(root, tmp_path_factory):
    listed = tmp_path_factory.mktemp("lists") / "mine.txt"
    listed.write_text("sa_2\n")
    dataset = open_dataset("sa1b", str(root), str(listed))
    assert (dataset.split, [entry.image_id for entry in dataset.entries]) == ("mine", ["sa_2"])
    assert len(dataset.read(dataset.entries[0]).objects) == 3
    listed.write_text("sa_2\nsa_77\n")
    with pytest.raises(UserError, match=r"mine\.txt lists sa_77, which is not in .*/images"):
        open_dataset("sa1b", str(root), str(listed))


def test_unknown_split_names_those_that_are_there(root):
    with pytest.raises(
        UserError, match=r"unknown split 'val' of sa1b; did you mean '(all|eval)'\? Possible: all, eval, or a list file"
    ):
        open_dataset("sa1b", str(root), "val")


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    with pytest.raises(UserError, match=r"images has no \.jpg file"):
        open_dataset("sa1b", str(tmp_path), "all")


def test_fingerprint_changes_with_the_size_of_an_annotation(root):
    before = open_dataset("sa1b", str(root), "all").fingerprint
    assert open_dataset("sa1b", str(root), "all").fingerprint == before
    with (root / "annotations" / "sa_1.json").open("a") as file:
        file.write(" ")
    assert open_dataset("sa1b", str(root), "all").fingerprint != before


def refused(root):
    with pytest.raises(ImageError) as error:
        record_of(root)
    assert "annotations/sa_1.json" in error.value.detail
    assert str(root) not in error.value.detail
    return error.value


def test_json_of_another_image_size_is_refused(root):
    write_pair(root, "sa_1", [], height=SHAPE[1], width=SHAPE[0])
    assert refused(root).reason == "size_mismatch"


def test_mask_of_another_size_is_left_out_and_named(root):
    write_pair(root, "sa_1", [annotation(5, MASKS[500000003]), annotation(77, box(1, 1, 5, 5).T)])
    record = record_of(root)
    assert list(masks_of(record)) == [5]
    assert [(each.instance_id, each.reason) for each in record.rejects] == [(77, "unreadable_object")]
    assert (
        record.rejects[0].detail
        == "annotations/sa_1.json: 77 is 32x24, its image 24x32 (rows x columns); height and width are swapped"
    )
    write_pair(root, "sa_1", [annotation(77, box(1, 1, 5, 5).T)])
    assert refused(root).reason == "size_mismatch"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no json", b"\xff\xfe", b"[]", b"5", b"null", b"{}", b'{"image": {"height": 24, "width": 32}}',
        b'{"image": 5, "annotations": []}', b'{"image": {"height": 24, "width": 32}, "annotations": 5}',
        b'{"image": {"height": 24, "width": 32}, "annotations": [{"id": "x", "segmentation": {}}]}',
        b'{"image": {"height": 24, "width": 32}, "annotations": [{"id": 1, "segmentation": {}}]}',
        b'{"image": {"height": 24, "width": 32}, "annotations": [{"id": 1, "segmentation": {"size": [24, 32]}}]}',
        b'{"image": {"height": 24, "width": 32}, "annotations": [{"id": 1, "segmentation": null}]}',
    ],
)  # fmt: skip
def test_json_that_is_no_annotation_is_refused(root, content):
    (root / "annotations" / "sa_1.json").write_bytes(content)
    assert refused(root).reason == "unreadable_annotation"


def test_missing_annotation_is_refused_when_it_is_read(root):
    (root / "annotations" / "sa_1.json").unlink()
    assert "does not exist" in refused(root).detail


@pytest.mark.parametrize(
    ("second", "detail"),
    [
        (5, "annotation id 5 occurs twice"),
        (10**30, "annotations[1]: expected int <= 9223372036854775807, at id"),
        (-1, "annotations[1]: expected int >= 0, at id"),
        (1.5, "annotations[1]: expected int, got float, at id"),
        ("six", "annotations[1]: expected int, got str, at id"),
        (True, "annotations[1]: expected int, got bool, at id"),
    ],
)
def test_ids_that_are_not_sane_are_a_finding(root, second, detail):
    write_pair(root, "sa_1", [annotation(5, box(0, 0, 4, 4)), annotation(second, box(10, 10, 4, 4))])
    (finding,) = check(open_dataset("sa1b", str(root), "all"))
    assert finding.where == "images/sa_1.jpg"
    assert finding.what.startswith("unreadable_object: annotations/sa_1.json: ")
    assert detail in finding.what
    record = record_of(root)
    assert list(masks_of(record)) == [5]
    assert [(reject.image_id, reject.instance_id) for reject in record.rejects] == [("sa_1", None)]


@pytest.mark.parametrize("order", [1, -1])
def test_broken_annotation_takes_no_id_of_a_sound_one(root, order):
    broken = {"id": 5}
    write_pair(root, "sa_1", [broken, annotation(5, box(10, 10, 4, 4))][::order])
    record = record_of(root)
    assert list(masks_of(record)) == [5]
    assert [reject.instance_id for reject in record.rejects] == [None]


def test_ids_that_differ_only_in_their_type_are_the_same(root):
    write_pair(root, "sa_1", [annotation("5", box(0, 0, 4, 4)), annotation(6.0, box(10, 10, 4, 4))])
    assert list(masks_of(record_of(root))) == [5, 6]


def test_hidden_files_are_no_images(root):
    before = open_dataset("sa1b", str(root), "all").entries
    (root / "images" / "._sa_1.jpg").touch()
    assert open_dataset("sa1b", str(root), "all").entries == before


def test_annotation_without_an_image_is_a_stray(root):
    (root / "images" / "sa_10.jpg").unlink()
    (stray,) = open_dataset("sa1b", str(root), "all").strays()
    assert stray == "annotations/sa_10.json belongs to no image in images"


def test_uncompressed_run_lengths_are_read_too(root):
    first = annotation(1, MASKS[500000021])
    first["segmentation"]["counts"] = [0, *[6, 18] * 5, 6, 18 + 24 * 26]
    write_pair(root, "sa_1", [first])
    np.testing.assert_array_equal(masks_of(record_of(root))[1], MASKS[500000021])


@pytest.mark.parametrize(
    ("stem", "image_id", "why"),
    [
        (b"n\xff", "n\\xff", "is not UTF-8"),
        (b"c\x1b[31m", "c\\x1b[31m", "has a control character"),
        (b"l\nm", "l\\nm", "has a control character"),
    ],
)
@pytest.mark.parametrize("split", ["all", "eval"])
def test_names_that_cannot_be_used_cost_only_their_images(root, stem, image_id, why, split):
    before = open_dataset("sa1b", str(root), split)
    name = os.fsdecode(stem)
    for folder, ending in (("images", ".jpg"), ("annotations", ".json")):
        shutil.copyfile(root / folder / f"sa_1{ending}", root / folder / f"{name}{ending}")
    write_pair(root, "sa_3", [annotation(1, box(0, 0, 6, 6))])
    (root / "annotations/sa_3.json").rename(root / "annotations" / f"s{name}.json")
    dataset = open_dataset("sa1b", str(root), split)
    assert [entry.image_id for entry in dataset.entries] == [image_id, "sa_1", "sa_10", "sa_2", "sa_3"]
    assert dataset.fingerprint != before.fingerprint
    with pytest.raises(ImageError) as error:
        dataset.read(dataset.entries[0])
    problem = "unreadable_image", f"images/{image_id}.jpg: the name {why}"
    assert (error.value.reason, error.value.detail) == problem
    assert dataset.entries[4].problem == ("unreadable_annotation", "annotations/sa_3.json does not exist")
    assert dataset.strays() == (f"annotations/s{image_id}.json belongs to no image in images",)
    assert dataset.read(dataset.entries[1]).image_id == "sa_1"


@pytest.mark.parametrize(("key", "value"), [("annotations", []), ("image", {"height": 24, "width": 32})])
def test_key_that_occurs_twice_costs_its_image(root, key, value):
    path = root / "annotations/sa_1.json"
    path.write_text(path.read_text()[:-1] + f', "{key}": {json.dumps(value)}}}')
    with pytest.raises(ImageError) as error:
        record_of(root)
    said = f"annotations/sa_1.json has the key '{key}' 2 times; keep one, because only one would be read"
    assert (error.value.reason, error.value.detail) == ("unreadable_annotation", said)
    assert len(record_of(root, number=1).objects) == len(MASKS)


def test_fraction_that_may_be_several_ids_is_no_id(root):
    path = root / "annotations/sa_1.json"
    path.write_text(
        path.read_text().replace("500000003", "9007199254740993.0").replace("500000007", "9007199254740993")
    )
    record = record_of(root)
    assert list(masks_of(record)) == [500000021, 9007199254740993]
    assert [(each.instance_id, each.detail) for each in record.rejects] == [
        (None, "annotations/sa_1.json: annotations[1]: expected int, got float, at id")
    ]


@pytest.mark.parametrize("what", ["images/sa_10.jpg", "annotations/sa_10.json"])
def test_folder_in_the_place_of_a_file(root, what):
    (root / what).unlink()
    (root / what).mkdir()
    dataset = open_dataset("sa1b", str(root), "all")
    problem = {entry.image_id: entry.problem for entry in dataset.entries}["sa_10"]
    if what.startswith("images"):
        assert problem == ("unreadable_image", "images/sa_10.jpg is a folder")
    else:
        assert problem == ("unreadable_annotation", "annotations/sa_10.json does not exist")
