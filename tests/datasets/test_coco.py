"""COCO JSON files written by the test: polygons, run lengths, crowds, and what is not COCO."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from agg_pipeline.datasets.coco import read_segmentation, splits
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.survey import check
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError, UserError

HEIGHT, WIDTH = 24, 32


def square(top, left, height, width):
    frame = np.zeros((HEIGHT, WIDTH), bool)
    frame[top : top + height, left : left + width] = True
    return frame


def compressed(frame):
    rle = coco_mask.encode(np.asfortranarray(frame, np.uint8))
    return {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}


def uncompressed(frame):
    flat = frame.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": [0, *counts] if flat[0] else counts}


POLYGON = [[4.0, 5.0, 20.0, 5.0, 20.0, 15.0, 4.0, 15.0]]


def annotation(number, segmentation, image_id=7, category_id=1, **more):
    return {
        "id": number, "image_id": image_id, "category_id": category_id, "segmentation": segmentation,
        "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1], **more,
    }  # fmt: skip


def truth_of(annotations, images=(7,)):
    return {
        "images": [
            {"id": i, "file_name": f"{i:012d}.jpg", "height": HEIGHT, "width": WIDTH, "license": 1} for i in images
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "licenses": [{"id": 1, "name": "CC BY 2.0"}],
    }


def write(root, truth, split="val2017", folder="val2017"):
    (root / "annotations").mkdir(exist_ok=True)
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))
    for image in truth["images"]:
        pixels = np.full((HEIGHT, WIDTH, 3), image["id"] % 251, np.uint8)
        Image.fromarray(pixels).save(root / folder / image["file_name"], "JPEG")
    return root


def record_of(root, number=0, split="val2017"):
    dataset = open_dataset("coco", str(root), split)
    return dataset.read(dataset.entries[number])


def one_mask(root, segmentation):
    (instance,) = record_of(write(root, truth_of([annotation(1, segmentation)]))).objects
    return instance.mask.full()


def test_polygons_match_pycocotools(tmp_path):
    two = [*POLYGON, [25.0, 2.0, 30.0, 2.0, 28.0, 20.0]]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(two, HEIGHT, WIDTH))).astype(bool)
    np.testing.assert_array_equal(one_mask(tmp_path, two), expected)
    np.testing.assert_array_equal(one_mask(tmp_path, POLYGON), square(5, 4, 10, 16))


def test_rectangle_of_four_points_is_not_read_as_a_box(tmp_path):
    # Four numbers would be read as x, y, width, height by pycocotools; four points must not be.
    np.testing.assert_array_equal(one_mask(tmp_path, [[0, 0, 8, 0, 8, 6, 0, 6]]), square(0, 0, 6, 8))


@pytest.mark.parametrize("code", [compressed, uncompressed])
@pytest.mark.parametrize("frame", [square(3, 4, 10, 7), square(0, 0, 5, 5), square(0, 0, HEIGHT, WIDTH)])
def test_run_lengths(tmp_path, code, frame):
    np.testing.assert_array_equal(one_mask(tmp_path, code(frame)), frame)


def test_overlapping_objects_keep_all_their_pixels(tmp_path):
    a, b = square(2, 2, 15, 15), square(8, 8, 14, 20)
    things = record_of(
        write(tmp_path, truth_of([annotation(5, compressed(b), category_id=18), annotation(3, compressed(a))]))
    ).objects
    assert [(instance.instance_id, instance.category) for instance in things] == [(3, "person"), (5, "dog")]
    np.testing.assert_array_equal(things[0].mask.full(), a)
    np.testing.assert_array_equal(things[1].mask.full(), b)


def test_crowds_are_ignored_pixels(tmp_path):
    a, b = square(0, 0, 4, 6), square(10, 20, 9, 9)
    record = record_of(
        write(
            tmp_path,
            truth_of(
                [
                    annotation(1, uncompressed(a), iscrowd=1),
                    annotation(2, POLYGON),
                    annotation(3, uncompressed(b), iscrowd=1),
                ]
            ),
        )
    )
    assert [instance.instance_id for instance in record.objects] == [2]
    np.testing.assert_array_equal(record.ignore.full(), a | b)
    assert record_of(write(tmp_path, truth_of([annotation(2, POLYGON)]))).ignore is None


def test_record_has_the_images_licence_and_unknown_categories_are_none(tmp_path):
    truth = truth_of([annotation(1, POLYGON, category_id=77)], images=(7, 8))
    truth["images"][1]["license"] = 99
    dataset = open_dataset("coco", str(write(tmp_path, truth)), "val2017")
    first, second = (dataset.read(entry) for entry in dataset.entries)
    assert first.licence == "CC BY 2.0"
    assert "CC BY 4.0" in second.licence
    assert first.objects[0].category is None
    assert second.objects == ()
    assert (first.path, first.pixels.shape) == ("val2017/000000000007.jpg", (HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("folder", ["val2017", "images/val2017", "images"])
def test_images_are_found_in_the_usual_folders(tmp_path, folder):
    assert record_of(write(tmp_path, truth_of([annotation(1, POLYGON)]), folder=folder)).objects


def test_split_may_be_a_json_file(tmp_path):
    write(tmp_path, truth_of([annotation(1, POLYGON)]), folder="images")
    (tmp_path / "annotations" / "instances_val2017.json").rename(tmp_path / "mine.json")
    dataset = open_dataset("coco", str(tmp_path), "mine.json")
    assert dataset.split == "mine"
    assert len(dataset.read(dataset.entries[0]).objects) == 1


def test_listing_opens_the_json_only(tmp_path, monkeypatch):
    write(tmp_path, truth_of([annotation(1, POLYGON)], images=(9, 7, 10)))
    opened = []
    for method in ("read", "open"):
        original = getattr(Store, method)
        monkeypatch.setattr(
            Store,
            method,
            lambda self, path, *limit, original=original: opened.append(path) or original(self, path, *limit),
        )
    dataset = open_dataset("coco", str(tmp_path), "val2017")
    assert opened == ["annotations/instances_val2017.json"]
    ids = [entry.image_id for entry in dataset.entries]
    assert ids == sorted(ids)
    assert set(ids) == {"7", "9", "10"}
    assert all(entry.size == (tmp_path / entry.path).stat().st_size for entry in dataset.entries)
    read, entries = pickle.loads(pickle.dumps((dataset.read, dataset.entries)))  # noqa: S301
    assert sum(len(read(entry).objects) for entry in entries) == 1


def test_fingerprint_changes_with_the_annotations_and_with_the_sizes(tmp_path):
    truth = truth_of([annotation(1, POLYGON)])
    before = open_dataset("coco", str(write(tmp_path, truth)), "val2017").fingerprint
    assert open_dataset("coco", str(tmp_path), "val2017").fingerprint == before
    truth["annotations"][0]["segmentation"] = [[4.0, 5.0, 20.0, 5.0, 20.0, 15.0, 4.0, 16.0]]
    assert open_dataset("coco", str(write(tmp_path, truth)), "val2017").fingerprint != before
    write(tmp_path, truth_of([annotation(1, POLYGON)]))
    with (tmp_path / "val2017" / "000000000007.jpg").open("ab") as file:
        file.write(b"x")
    assert open_dataset("coco", str(tmp_path), "val2017").fingerprint != before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"5",
        b"{}",
        b'{"images": []}',
        b'{"images": [], "annotations": []}',
        b'{"images": 5, "annotations": []}',
        b'{"images": [5], "annotations": []}',
        b'{"images": [{"id": 1}], "annotations": []}',
        b'{"images": null, "annotations": null}',
    ],
)
def test_json_that_is_not_coco_is_refused(tmp_path, content):
    write(tmp_path, truth_of([]))
    (tmp_path / "annotations" / "instances_val2017.json").write_bytes(content)
    with pytest.raises(UserError, match=r"instances_val2017\.json"):
        open_dataset("coco", str(tmp_path), "val2017")


@pytest.mark.parametrize(
    "broken",
    [
        {"id": "one"},
        {"id": None},
        {"image_id": [7]},
        {"category_id": [1]},
    ],
    ids=["id is a word", "id is null", "image id is a list", "category is a list"],
)
def test_annotation_with_an_impossible_field_is_a_user_error(tmp_path, broken):
    write(tmp_path, truth_of([annotation(1, POLYGON) | broken]))
    with pytest.raises(UserError, match=r"instances_val2017\.json"):
        open_dataset("coco", str(tmp_path), "val2017")


def test_two_images_of_one_id_are_refused(tmp_path):
    with pytest.raises(UserError, match="same id"):
        open_dataset("coco", str(write(tmp_path, truth_of([], images=(7, 7)))), "val2017")


def test_missing_root_json_or_images_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        open_dataset("coco", str(tmp_path / "nowhere"), "val2017")
    (tmp_path / "annotations").mkdir()
    with pytest.raises(UserError, match=r"instances_val2017\.json does not exist; possible: the path of a JSON file"):
        open_dataset("coco", str(tmp_path), "val2017")
    write(tmp_path, truth_of([]), split="train2017", folder="train2017")
    with pytest.raises(UserError, match=r"instances_val2017\.json does not exist; possible: train2017, the path"):
        open_dataset("coco", str(tmp_path), "val2017")
    with pytest.raises(UserError, match=r"unknown split 'train201', because .*; did you mean 'train2017'\?"):
        open_dataset("coco", str(tmp_path), "train201")
    write(tmp_path, truth_of([]))
    (tmp_path / "val2017" / "000000000007.jpg").unlink()
    with pytest.raises(UserError, match=r"000000000007\.jpg was not found"):
        open_dataset("coco", str(tmp_path), "val2017")


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1.0, 2.0, 3.0, 4.0]], "unreadable_annotation"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0]], "unreadable_annotation"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], "unreadable_annotation"),
        ([], "unreadable_annotation"),
        ([[]], "unreadable_annotation"),
        (None, "unreadable_annotation"),
        ("text", "unreadable_annotation"),
        ([["a"] * 6], "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH], "counts": "zzzz"}, "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH], "counts": None}, "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH]}, "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH], "counts": [3, 4]}, "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH + 1]}, "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}, "unreadable_annotation"),
        ({"size": [HEIGHT, WIDTH], "counts": [2**40]}, "unreadable_annotation"),
        ({"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, "size_mismatch"),
        ({"size": None, "counts": [HEIGHT * WIDTH]}, None),
        ({"size": 5, "counts": [HEIGHT * WIDTH]}, None),
        ({"counts": [HEIGHT * WIDTH]}, None),
    ],
)
def test_unreadable_segmentation_is_an_image_error(tmp_path, segmentation, reason):
    write(tmp_path, truth_of([annotation(1, segmentation)]))
    with pytest.raises(ImageError) as error:
        record_of(tmp_path)
    assert error.value.reason == reason or reason is None
    assert "annotation 1" in error.value.detail


def test_image_of_another_size_than_the_json_says_is_refused(tmp_path):
    write(tmp_path, truth_of([annotation(1, POLYGON)]))
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8)).save(tmp_path / "val2017" / "000000000007.jpg")
    with pytest.raises(ImageError) as error:
        record_of(tmp_path)
    assert error.value.reason == "size_mismatch"


def test_truncated_and_missing_images_are_refused_when_they_are_read(tmp_path):
    write(tmp_path, truth_of([annotation(1, POLYGON)], images=(7, 8)))
    path = tmp_path / "val2017" / "000000000008.jpg"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageError) as error:
        record_of(tmp_path, 1)
    assert error.value.reason == "unreadable_image"
    path.unlink()
    with pytest.raises(ImageError) as error:
        record_of(tmp_path, 1)
    assert error.value.reason == "unreadable_image"


@pytest.mark.parametrize("numbers", [(1, 1), (1, 1.5), (1, 2**63), (1, "two"), (1, -1)])
def test_annotation_ids_are_whole_and_unique_in_their_image(tmp_path, numbers):
    polygon = [[2, 2, 9, 2, 9, 9]]
    write(tmp_path, truth_of([annotation(number, polygon) for number in numbers]))
    with pytest.raises(UserError, match="annotation id"):
        open_dataset("coco", str(tmp_path), "val2017")


@pytest.mark.parametrize("far", [1e300, float("inf"), float("nan"), -1e6])
def test_polygon_far_outside_the_image_is_an_image_error(tmp_path, far):
    with pytest.raises(ImageError) as error:
        one_mask(tmp_path, [[2, 2, far, 2, 9, 9]])
    assert error.value.reason == "unreadable_annotation"


@pytest.mark.parametrize("code", [compressed, uncompressed, lambda _: POLYGON])
def test_crowd_is_ignored_however_it_is_written(tmp_path, code):
    crowd = square(5, 4, 10, 16)
    things = [annotation(1, compressed(square(0, 0, 3, 3))), annotation(2, code(crowd), iscrowd=1)]
    record = record_of(write(tmp_path, truth_of(things)))
    assert [instance.instance_id for instance in record.objects] == [1]
    np.testing.assert_array_equal(record.ignore.full(), crowd)


def test_annotation_of_an_image_that_is_not_listed_is_a_stray(tmp_path):
    dataset = open_dataset(
        "coco",
        str(write(tmp_path, truth_of([annotation(1, POLYGON), annotation(2, POLYGON, 9), annotation(3, POLYGON, 9)]))),
        "val2017",
    )
    assert list(dataset.strays()) == [
        "annotation 2 belongs to image 9, which is not listed",
        "annotation 3 belongs to image 9, which is not listed",
    ]
    assert [finding.what for finding in check(dataset)] == list(dataset.strays())
    assert pickle.loads(pickle.dumps(dataset.read))(dataset.entries[0]).objects  # noqa: S301


def test_splits_are_the_instance_files(tmp_path):
    write(tmp_path, truth_of([]), split="train2017", folder="train2017")
    write(tmp_path, truth_of([]))
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")
    assert splits(Store(str(tmp_path))) == ("train2017", "val2017")


@pytest.mark.parametrize("counts", [5, 2**40, {"a": 1}, [1.5, HEIGHT * WIDTH - 1.5], [[HEIGHT * WIDTH]]])
def test_run_lengths_of_a_strange_kind_are_an_image_error(tmp_path, counts):
    write(tmp_path, truth_of([annotation(1, {"size": [HEIGHT, WIDTH], "counts": counts})]))
    with pytest.raises(ImageError, match="annotation 1"):
        record_of(tmp_path)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (HEIGHT, WIDTH)))
def test_any_mask_comes_back_from_its_run_lengths(frame):
    for code in (compressed, uncompressed):
        np.testing.assert_array_equal(read_segmentation(code(frame), HEIGHT, WIDTH, "x").full(), frame)


@pytest.mark.filterwarnings("ignore:__array__")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 40), st.floats(-5, 30)), min_size=3, max_size=8))
def test_random_polygons_match_pycocotools(points):
    polygon = [[number for point in points for number in point]]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygon, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(read_segmentation(polygon, HEIGHT, WIDTH, "x").full(), expected > 0)
