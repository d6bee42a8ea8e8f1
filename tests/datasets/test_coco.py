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

from agg_pipeline.datasets.coco import splits
from agg_pipeline.datasets.coco_masks import read_segmentation
from agg_pipeline.datasets.naming import Naming
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.survey import check
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError, UserError

HEIGHT, WIDTH = 24, 32
PATH = "annotations/instances_val2017.json"
PLAIN = "expected str without control characters and lone surrogates"


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


def decoded(segmentation):
    return read_segmentation(json.dumps(segmentation).encode(), HEIGHT, WIDTH, "x").full()


def write(root, truth, split="val2017", folder="val2017"):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
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
    assert second.licence == "unknown"
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
    whole = open_dataset("coco", str(tmp_path), str(tmp_path / "mine.json"))
    assert (whole.split, whole.entries, whole.fingerprint) == ("mine", dataset.entries, dataset.fingerprint)


def test_json_file_of_a_root_that_is_given_in_another_way(tmp_path, monkeypatch):
    write(tmp_path / "set", truth_of([annotation(1, POLYGON)]), folder="images")
    monkeypatch.chdir(tmp_path)
    path = "set/annotations/instances_val2017.json"
    for split in (path, str(tmp_path / path)):
        assert len(open_dataset("coco", "set", split).entries) == 1


def test_json_file_that_is_not_there(tmp_path):
    write(tmp_path / "set", truth_of([annotation(1, POLYGON)]), folder="images")
    root = str(tmp_path / "set")
    with pytest.raises(UserError) as error:
        open_dataset("coco", root, str(tmp_path / "mine.json"))
    assert str(error.value) == f"{tmp_path}/mine.json does not lie below {root}, the root of the data set"
    with pytest.raises(UserError) as error:
        open_dataset("coco", root, "mine.json")
    assert str(error.value).endswith(f"does not exist; possible: val2017, or the path of a JSON file below {root}")
    (tmp_path / "set/annotations/instances_val2017.json").unlink()
    with pytest.raises(UserError) as error:
        open_dataset("coco", root, "mine.json")
    assert str(error.value).endswith(f"does not exist; name a JSON file below {root}")


@pytest.mark.parametrize("name", ["000000000007.jpg", "000000000007.JPG"])
def test_folder_in_the_place_of_an_image(tmp_path, name):
    write(tmp_path, truth_of([annotation(1, POLYGON)], images=(7, 9)))
    (tmp_path / "val2017/000000000007.jpg").unlink()
    (tmp_path / "val2017" / name).mkdir()
    dataset = open_dataset("coco", str(tmp_path), "val2017")
    assert dataset.entries[0].problem == ("unreadable_image", f"val2017/{name} is a folder")


def test_ending_of_an_image_in_capitals(tmp_path):
    write(tmp_path, truth_of([annotation(1, POLYGON)], images=(7, 9)))
    (tmp_path / "val2017/000000000007.jpg").rename(tmp_path / "val2017/000000000007.JPG")
    dataset = open_dataset("coco", str(tmp_path), "val2017")
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
    assert opened == ["annotations/instances_val2017.json", "dataset.toml"]
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


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("part", ["images", "annotations", "categories", "licenses"])
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("score", ["1", "NaN"])
def test_key_that_occurs_twice_is_refused(tmp_path, part, escaped, mark, score):
    write(tmp_path, truth_of([GOOD]))
    key = f"\\u{ord(part[0]):04x}{part[1:]}" if escaped else part
    text = json.dumps(truth_of([GOOD])).encode()
    path = tmp_path / PATH
    path.write_bytes(mark + text[:-1] + f', "score": {score}, "score": 2, "{key}": []}}'.encode())
    with pytest.raises(UserError) as error:
        open_dataset("coco", str(tmp_path), "val2017")
    said = f"{tmp_path}/{PATH} has the key '{part}' 2 times; keep one, because only one would be read"
    assert str(error.value) == said
    path.write_bytes(mark + text[:-1] + f', "score": {score}, "score": 2}}'.encode())
    assert len(record_of(tmp_path).objects) == 1


def test_key_that_is_not_utf_8_is_refused(tmp_path):
    write(tmp_path, truth_of([GOOD]))
    text = json.dumps(truth_of([GOOD])).encode()
    (tmp_path / PATH).write_bytes(text[:-1] + b', "caf\xe9": 1}')
    with pytest.raises(UserError) as error:
        open_dataset("coco", str(tmp_path), "val2017")
    assert str(error.value) == f"{tmp_path}/{PATH} is not JSON: a key is not UTF-8"


GOOD, BAD = annotation(1, POLYGON), 9
"""An annotation that can be used, and the id of one that cannot."""


@pytest.mark.parametrize(
    ("broken", "number", "detail"),
    [
        ({"id": "one"}, None, "annotations[1]: expected int, got str, at id"),
        ({"id": None}, None, "annotations[1]: expected int, got null, at id"),
        ({"id": True}, None, "annotations[1]: expected int, got bool, at id"),
        ({"id": 1.5}, None, "annotations[1]: expected int, got float, at id"),
        ({"id": -1}, None, "annotations[1]: expected int >= 0, at id"),
        ({"id": 2**63}, None, "annotations[1]: expected int <= 9223372036854775807, at id"),
        ({"id": 1}, None, "annotation id 1 occurs twice in image 7"),
        ({"category_id": [1]}, BAD, "annotation 9: expected int | float | str | null, got array, at category_id"),
        ({"iscrowd": 2}, BAD, "annotation 9: expected int <= 1, at iscrowd"),
        ({"segmentation": []}, BAD, "annotation 9 has no readable segmentation: a polygon of fewer than three points"),
        ({"segmentation": [[10, 10, 20, 20]]}, BAD, "annotation 9 has no readable segmentation: a polygon of fewer"),
        (
            {"segmentation": [*POLYGON, [8.0, 8.0]]},
            BAD,
            "annotation 9 has no readable segmentation: a polygon of fewer",
        ),
        (
            {"segmentation": [[float("nan")] * 6]},
            BAD,
            "annotation 9 has no readable segmentation: its JSON: expected float",
        ),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "\ud800"}}, BAD, "annotation 9 has no readable segm"),
        ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}}, BAD, "annotation 9 is 32x24, its"),
    ],
)
def test_broken_annotation_costs_only_itself(tmp_path, broken, number, detail):
    root = write(tmp_path, truth_of([GOOD, annotation(BAD, POLYGON) | broken]))
    record = record_of(root)
    assert [instance.instance_id for instance in record.objects] == [1]
    (reject,) = record.rejects
    assert (reject.image_id, reject.instance_id, reject.step, reject.stage) == ("7", number, None, "load")
    assert reject.reason == "unreadable_object"
    assert reject.detail.startswith(detail), reject.detail
    (finding,) = check(open_dataset("coco", str(root), "val2017"))
    assert finding.what == f"unreadable_object: {reject.detail}"
    assert finding.where == record.path


def test_annotation_without_a_segmentation_costs_only_itself(tmp_path):
    bad = annotation(BAD, POLYGON)
    del bad["segmentation"]
    record = record_of(write(tmp_path, truth_of([bad, GOOD])))
    assert [instance.instance_id for instance in record.objects] == [1]
    assert [(reject.instance_id, reject.detail) for reject in record.rejects] == [
        (BAD, "annotation 9: object missing required field segmentation")
    ]


def test_annotation_whose_image_cannot_be_known_is_a_stray(tmp_path, caplog):
    dataset = open_dataset("coco", str(write(tmp_path, truth_of([GOOD, annotation(2, POLYGON, [7])]))), "val2017")
    assert list(dataset.strays()) == [f"{PATH}: annotation 2: expected int | float | str, got array, at image_id"]
    assert caplog.messages == [
        f"{tmp_path}/annotations/instances_val2017.json: 1 annotation belongs to no listed image"
    ]
    assert len(dataset.read(dataset.entries[0]).objects) == 1


@pytest.mark.parametrize("part", ["image_id", "category_id"])
def test_control_characters_in_the_ids_of_annotations_are_in_no_message(tmp_path, part):
    bad = annotation(BAD, POLYGON) | {part: "\x1b[2J"}
    dataset = open_dataset("coco", str(write(tmp_path, truth_of([GOOD, bad]))), "val2017")
    record = dataset.read(dataset.entries[0])
    assert [instance.instance_id for instance in record.objects] == [1]
    (finding,) = check(dataset)
    assert finding.what.endswith(f"annotation 9: {PLAIN}, at {part}")
    assert len(record.rejects) + len(list(dataset.strays())) == 1


def test_control_characters_in_the_names_of_categories_and_licences_are_kept(tmp_path):
    truth = truth_of([GOOD])
    truth["categories"][0]["name"], truth["licenses"][0]["name"] = "dog\n", "CC\x1b[2J"
    dataset = open_dataset("coco", str(write(tmp_path, truth)), "val2017")
    record = dataset.read(dataset.entries[0])
    assert (record.objects[0].category, record.licence, dataset.classes[0]) == ("dog\n", "CC\x1b[2J", "dog\n")
    assert list(check(dataset)) == []


@pytest.mark.parametrize(
    ("broken", "image_id", "reason", "detail"),
    [
        ({"id": True}, "images[1]", "unreadable_annotation", "images[1]: expected int | float | str, got bool, at id"),
        ({"id": [8]}, "images[1]", "unreadable_annotation", "images[1]: expected int | float | str, got array, at id"),
        (
            {"id": "a\0"},
            "images[1]",
            "unreadable_annotation",
            "images[1]: expected str without control characters and lone surrogates, at id",
        ),
        (
            {"id": "\ud800"},
            "images[1]",
            "unreadable_annotation",
            "images[1]: expected str without control characters and lone surrogates, at id",
        ),
        ({"id": "a\x1b[2J"}, "images[1]", "unreadable_annotation", f"images[1]: {PLAIN}, at id"),
        ({"id": "a\n"}, "images[1]", "unreadable_annotation", f"images[1]: {PLAIN}, at id"),
        ({"file_name": "a\x1b[2J.jpg"}, "8", "unreadable_annotation", f"images[1]: {PLAIN}, at file_name"),
        ({"file_name": "a.jpg\n"}, "8", "unreadable_annotation", f"images[1]: {PLAIN}, at file_name"),
        ({"coco_url": "\x85"}, "8", "unreadable_annotation", f"images[1]: {PLAIN}, at coco_url"),
        ({"license": "\x7f"}, "8", "unreadable_annotation", f"images[1]: {PLAIN}, at license"),
        ({"id": "x" * 1025}, "images[1]", "unreadable_annotation", "images[1]: expected str of length <= 1024, at id"),
        ({"id": 10**4000}, "images[1]", "unreadable_annotation", "images[1]: "),
        ({"file_name": ["a"]}, "8", "unreadable_annotation", "images[1]: expected str | null, got array, at file_name"),
        (
            {"file_name": "a\0.jpg"},
            "8",
            "unreadable_annotation",
            "images[1]: expected str without control characters and lone surrogates, at file_name",
        ),
        (
            {"file_name": "\ud800.jpg"},
            "8",
            "unreadable_annotation",
            "images[1]: expected str without control characters and lone surrogates, at file_name",
        ),
        ({"height": 0}, "8", "unreadable_annotation", "images[1]: expected int >= 1, at height"),
        ({"width": 1.5}, "8", "unreadable_annotation", "images[1]: expected int, got float, at width"),
        ({"file_name": "../../a.jpg"}, "8", "unreadable_image", "../../a.jpg is no path in the data set"),
        ({"file_name": "/etc/passwd"}, "8", "unreadable_image", "/etc/passwd is no path in the data set"),
        ({"file_name": "http://a.org/a.jpg"}, "8", "unreadable_image", "http://a.org/a.jpg is no path in the data set"),
        ({"file_name": ""}, "8", "unreadable_image", " is no path in the data set"),
        ({"file_name": "gone.jpg"}, "8", "unreadable_image", "val2017/gone.jpg does not exist"),
    ],
)
def test_broken_image_entry_costs_only_itself(tmp_path, broken, image_id, reason, detail):
    truth = truth_of([GOOD], images=(7, 8))
    write(tmp_path, truth)
    truth["images"][1] |= broken
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(truth))
    dataset = open_dataset("coco", str(tmp_path), "val2017")
    assert sorted(entry.image_id for entry in dataset.entries) == sorted(["7", image_id])
    by_id = {entry.image_id: entry for entry in dataset.entries}
    assert len(dataset.read(by_id["7"]).objects) == 1
    with pytest.raises(ImageError) as error:
        dataset.read(by_id[image_id])
    where = "annotations/instances_val2017.json: " if reason == "unreadable_annotation" else ""
    assert (error.value.reason, error.value.detail[: len(where + detail)]) == (reason, where + detail)
    assert len(list(check(dataset))) == 1


@pytest.mark.parametrize("image_id", ["7", 7.0])
@pytest.mark.parametrize("category_id", ["1", 1.0])
@pytest.mark.parametrize("number", ["1", 1.0])
def test_ids_that_differ_only_in_their_type_are_the_same(tmp_path, caplog, image_id, category_id, number):
    record = record_of(write(tmp_path, truth_of([annotation(number, POLYGON, image_id, category_id)])))
    assert [(instance.instance_id, instance.category) for instance in record.objects] == [(1, "person")]
    truth = truth_of([annotation(1, POLYGON, 7)])
    truth["images"][0]["id"] = image_id
    truth["categories"][0]["id"] = category_id
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(truth))
    record = record_of(tmp_path)
    assert record.image_id == "7"
    assert [instance.category for instance in record.objects] == ["person"]
    assert caplog.messages == []


EXACT = 2**53 - 1
"""Largest integer that, written as a fraction, stands for no other one."""


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("part", ["images", "annotations"])
def test_fraction_that_may_be_several_ids_is_no_id(tmp_path, part, sign):
    truth = truth_of([annotation(number, POLYGON, f"id-{number}") for number in (1, 2, 3)], images=(1, 2, 3))
    write(tmp_path, truth)
    text = json.dumps(truth)
    for number, of_image, of_annotation in [
        (1, EXACT, f"{EXACT}.0"),
        (2, EXACT + 1, f"{EXACT + 1}.0"),
        (3, EXACT + 3, f'"{EXACT + 3}"'),
    ]:
        of_image, of_annotation = f"{sign}{of_image}", of_annotation.replace(str(EXACT)[:3], sign + str(EXACT)[:3])
        if part == "images":
            of_image, of_annotation = of_annotation, of_image
        text = text.replace(f'"id": {number}, "file_name"', f'"id": {of_image}, "file_name"')
        text = text.replace(f'"id-{number}"', of_annotation)
    (tmp_path / PATH).write_text(text)
    dataset = open_dataset("coco", str(tmp_path), "val2017")
    ids = {entry.image_id: [] if entry.problem else dataset.read(entry).objects for entry in dataset.entries}
    numbers = {image_id: [each.instance_id for each in objects] for image_id, objects in ids.items()}
    bound = f"expected float {'>= -' if sign else '<= '}9007199254740991.0"
    exact, other = f"{sign}{EXACT}", f"{sign}{EXACT + 3}"
    if part == "images":
        assert numbers == {exact: [1], other: [3], "images[1]": []}
        stray = f"annotation 2 belongs to image {sign}{EXACT + 1}, which is not listed"
        (problem,) = [entry.problem[1] for entry in dataset.entries if entry.problem]
        assert problem == f"{PATH}: images[1]: {bound}, at id"
    else:
        assert numbers == {exact: [1], f"{sign}{EXACT + 1}": [], other: [3]}
        stray = f"annotation 2: {bound}, at image_id"
    assert list(dataset.strays()) == [f"{PATH}: {stray}"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (f"{EXACT}.0", EXACT),
        (f'"{EXACT}.0"', EXACT),
        (f"{EXACT + 2}", EXACT + 2),
        (f'"{EXACT + 2}"', EXACT + 2),
        (f"{EXACT + 2}.0", None),
        (f'"{EXACT + 2}.0"', None),
        (f"{EXACT + 2}e0", None),
    ],
)
def test_fraction_that_may_be_several_ids_is_no_id_of_an_annotation(tmp_path, number, expected):
    text = json.dumps(truth_of([GOOD, annotation(BAD, POLYGON)]))
    write(tmp_path, truth_of([]))
    (tmp_path / PATH).write_text(text.replace('"id": 9', f'"id": {number}'))
    record = record_of(tmp_path)
    if expected is not None:
        assert [each.instance_id for each in record.objects] == [1, expected]
        return
    assert [each.instance_id for each in record.objects] == [1]
    assert [(each.instance_id, each.detail) for each in record.rejects] == [
        (None, "annotations[1]: expected int, got float, at id")
    ]


@pytest.mark.parametrize("height", [str(HEIGHT), float(HEIGHT), f"{HEIGHT}.0"])
def test_sizes_in_texts_and_as_fractions_are_read(tmp_path, height):
    truth = truth_of([GOOD])
    truth["images"][0]["height"] = height
    assert len(record_of(write(tmp_path, truth)).objects) == 1


@pytest.mark.parametrize(("crowd", "objects"), [(True, 0), (False, 1), ("1", 0), (0.0, 1)])
def test_crowds_may_be_truth_values(tmp_path, crowd, objects):
    record = record_of(write(tmp_path, truth_of([annotation(1, POLYGON, iscrowd=crowd)])))
    assert (len(record.objects), record.ignore is None) == (objects, bool(objects))


@pytest.mark.parametrize("name", ["./a.jpg", ".\\a.jpg", "sub\\..\\a.jpg"])
def test_file_names_of_other_systems_are_read(tmp_path, name):
    truth = truth_of([GOOD])
    write(tmp_path, truth)
    (tmp_path / "val2017/000000000007.jpg").rename(tmp_path / "val2017/a.jpg")
    truth["images"][0]["file_name"] = name
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(truth))
    assert record_of(tmp_path).path == "val2017/a.jpg"


def test_annotations_of_no_listed_category_are_counted(tmp_path, caplog):
    things = [annotation(1, POLYGON, category_id=77), annotation(2, POLYGON, category_id=77), annotation(3, POLYGON, 9)]
    dataset = open_dataset("coco", str(write(tmp_path, truth_of(things))), "val2017")
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "1 annotation belongs to no listed image",
        "2 annotations name no listed category: 77",
    ]
    assert list(dataset.strays()) == [
        f"{PATH}: annotation 3 belongs to image 9, which is not listed",
        f"{PATH}: category 77 of 2 annotations is not listed",
    ]


@pytest.mark.parametrize("name", ["\udfff", "a\0b", "x" * 1025, None, ["x"]])
def test_broken_category_is_a_finding(tmp_path, name):
    truth = truth_of([GOOD])
    truth["categories"][0]["name"] = name
    dataset = open_dataset("coco", str(write(tmp_path, truth)), "val2017")
    assert dataset.classes == ("dog",)
    assert dataset.read(dataset.entries[0]).objects[0].category is None
    first, second = dataset.strays()
    assert first.startswith(f"{PATH}: categories[0]: expected ")
    assert second == f"{PATH}: category 1 of 1 annotation is not listed"


def test_categories_of_one_id_leave_their_annotations_without_a_class(tmp_path, caplog):
    truth = truth_of([annotation(1, POLYGON, category_id=18), annotation(2, POLYGON, category_id=1)])
    truth["categories"] += [{"id": "18", "name": "horse"}, {"id": 1, "name": "person"}, {"id": 18.0, "name": "dog"}]
    dataset = open_dataset("coco", str(write(tmp_path, truth)), "val2017")
    # An id that has the same name twice loses nothing.
    assert [each.category for each in dataset.read(dataset.entries[0]).objects] == [None, "person"]
    assert dataset.classes == ("person",)
    problem = "categories[2]: id 18 has two names, 'dog' and 'horse': its annotations have no class"
    assert list(dataset.strays()) == [f"{PATH}: {problem}"]
    assert caplog.messages == [f"{tmp_path}/{PATH}: 1 of the categories cannot be used: {problem}"]
    assert [finding.what for finding in check(dataset)] == [f"{PATH}: {problem}"]


def test_licences_of_one_id_leave_their_images_with_that_of_the_set(tmp_path, caplog):
    truth = truth_of([GOOD])
    truth["licenses"].append({"id": 1, "name": "CC0"})
    dataset = open_dataset("coco", str(write(tmp_path, truth)), "val2017", Naming(licence="CC BY 4.0"))
    assert dataset.read(dataset.entries[0]).licence == "CC BY 4.0"
    problem = "licenses[1]: id 1 has two names, 'CC BY 2.0' and 'CC0': its images have the licence of the data set"
    assert list(dataset.strays()) == [f"{PATH}: {problem}"]
    assert caplog.messages == [f"{tmp_path}/{PATH}: 1 of the licenses cannot be used: {problem}"]


@pytest.mark.parametrize(
    ("split", "place", "folder", "name"),
    [
        ("train/_annotations.coco.json", "train/_annotations.coco.json", "train", None),
        ("labels.json", "labels.json", "data", None),
        ("labels.json", "labels.json", "", None),
        ("val2017", "annotations/instances_val2017.json", "val2017", "http://example.org/val2017/a.jpg"),
        ("annotations/lvis_val.json", "annotations/lvis_val.json", "train2017", "http://example.org/train2017/a.jpg"),
        ("annotations/lvis_val.json", "annotations/lvis_val.json", "images", "http://example.org/train2017/a.jpg"),
    ],
)
def test_layouts_of_other_programs(tmp_path, split, place, folder, name):
    truth = truth_of([GOOD])
    image = truth["images"][0]
    (tmp_path / "annotations").mkdir()
    for path in (tmp_path / place, tmp_path / folder / "a.jpg"):
        path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / folder / "a.jpg")
    if name:
        del image["file_name"]
        image["coco_url"] = name
    else:
        image["file_name"] = "a.jpg"
    (tmp_path / place).write_text(json.dumps(truth))
    assert record_of(tmp_path, split=split).path == f"{folder}/a.jpg".lstrip("/")


def test_folder_is_found_although_the_first_images_are_missing(tmp_path):
    truth = truth_of([GOOD], images=(*range(100, 120), 7))
    write(tmp_path, truth)
    for number in range(100, 120):
        (tmp_path / f"val2017/{number:012d}.jpg").unlink()
    dataset = open_dataset("coco", str(tmp_path), "val2017")
    assert sum(entry.problem is None for entry in dataset.entries) == 1
    assert len(dataset.read(dataset.entries[-1]).objects) == 1


def test_leftover_is_no_split(tmp_path):
    write(tmp_path, truth_of([GOOD]))
    (tmp_path / "annotations/instances_val2017.json.bak").touch()
    (tmp_path / "annotations/._instances_val2017.json").touch()
    assert splits(Store(str(tmp_path))) == ("val2017",)


@pytest.mark.parametrize(
    ("segmentation", "detail"),
    [
        ({"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH] + [0] * 4_000_001}, "4,000,004 numbers; the limit is"),
        ([[1.5] * 4_000_002], "4,000,002 numbers; the limit is 4,000,000"),
        ([[0, 0, 30, 0, 30, 20, 0, 20] * 100_000], "an outline of "),
        ({"size": [HEIGHT, WIDTH], "counts": "0" * 5_000_000}, ""),
        ({"size": [HEIGHT, WIDTH], "counts": [2**70]}, "run lengths that do not add up to"),
    ],
    ids=["zeros", "points", "outline", "counts", "digits"],
)
def test_segmentation_beyond_its_limits_is_refused_at_once(segmentation, detail):
    with pytest.raises(ImageError) as error:
        decoded(segmentation)
    assert error.value.detail.startswith(f"x has no readable segmentation: {detail}"), error.value.detail


def test_images_of_one_file_are_read_each_with_its_annotations_and_named(tmp_path, caplog):
    truth = truth_of([annotation(1, POLYGON, 7), annotation(2, POLYGON, 8)], images=(7, 8, 9))
    write(tmp_path, truth)
    truth["images"][1]["file_name"] = "./000000000007.jpg"
    (tmp_path / PATH).write_text(json.dumps(truth))
    dataset = open_dataset("coco", str(tmp_path), "val2017")
    records = [dataset.read(entry) for entry in dataset.entries]
    assert [(each.image_id, each.path, [one.instance_id for one in each.objects]) for each in records] == [
        ("7", "val2017/000000000007.jpg", [1]),
        ("8", "val2017/000000000007.jpg", [2]),
        ("9", "val2017/000000000009.jpg", []),
    ]
    line = "val2017/000000000007.jpg is the file of 2 images (7, 8); each has its own annotations"
    assert [finding.what for finding in check(dataset)] == [f"{PATH}: {line}"]
    assert caplog.messages == [f"{tmp_path}/{PATH}: 1 file is shared by several images: {line}"]


def test_images_whose_names_differ_only_in_their_folders_may_not_share_a_file_silently(tmp_path):
    truth = truth_of([], images=(7, 8, 9, 10))
    write(tmp_path, truth)
    for image in truth["images"]:
        image["file_name"] = f"camera{image['id']}/000000000007.jpg"
    (tmp_path / PATH).write_text(json.dumps(truth))
    line = "val2017/000000000007.jpg is the file of 4 images (7, 8, 9, ...); each has its own annotations"
    assert f"{PATH}: {line}" in list(open_dataset("coco", str(tmp_path), "val2017").strays())


HOMELESS = "annotation {} belongs to image 9, which is not listed"


@pytest.mark.parametrize(
    ("annotations", "problems"),
    [
        ([], ["it has no annotation, so that no image has an object"]),
        (
            [annotation(1, POLYGON, 9)],
            ["none of its annotations (1) can be used, so that no image has an object", HOMELESS.format(1)],
        ),
        (
            [annotation(1, POLYGON, 9), annotation(2, POLYGON, 9)],
            [
                "none of its annotations (2) can be used, so that no image has an object",
                HOMELESS.format(1),
                HOMELESS.format(2),
            ],
        ),
        (
            [annotation(1, POLYGON, iscrowd=2)],
            ["none of its annotations (1) can be used, so that no image has an object"],
        ),
    ],
)
def test_file_without_an_annotation_that_can_be_used_is_a_finding(tmp_path, caplog, annotations, problems):
    root = write(tmp_path, truth_of(annotations))
    dataset = open_dataset("coco", str(root), "val2017")
    assert list(dataset.strays()) == [f"{PATH}: {problem}" for problem in problems]
    assert f"{tmp_path}/{PATH}: {problems[0]}" in caplog.messages
    assert f"{PATH}: {problems[0]}" in [finding.what for finding in check(dataset)]


def test_annotations_of_a_broken_image_alone_are_of_no_use(tmp_path):
    truth = truth_of([annotation(1, POLYGON, 8)], images=(7, 8))
    write(tmp_path, truth)
    truth["images"][1]["height"] = 0
    (tmp_path / PATH).write_text(json.dumps(truth))
    assert list(open_dataset("coco", str(tmp_path), "val2017").strays()) == [
        f"{PATH}: none of its annotations (1) can be used, so that no image has an object"
    ]


def test_crowds_alone_are_annotations(tmp_path, caplog):
    dataset = open_dataset("coco", str(write(tmp_path, truth_of([annotation(1, POLYGON, iscrowd=1)]))), "val2017")
    assert list(check(dataset)) == []
    assert caplog.messages == []


def test_two_images_of_one_id_are_refused(tmp_path):
    with pytest.raises(UserError, match="same id"):
        open_dataset("coco", str(write(tmp_path, truth_of([], images=(7, 7)))), "val2017")


def test_missing_root_json_or_images_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        open_dataset("coco", str(tmp_path / "nowhere"), "val2017")
    (tmp_path / "annotations").mkdir()
    with pytest.raises(UserError, match=r"instances_val2017\.json does not exist; name a JSON file"):
        open_dataset("coco", str(tmp_path), "val2017")
    write(tmp_path, truth_of([]), split="train2017", folder="train2017")
    with pytest.raises(UserError, match=r"instances_val2017\.json does not exist; possible: train2017, or the path"):
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
        f"{PATH}: annotation 2 belongs to image 9, which is not listed",
        f"{PATH}: annotation 3 belongs to image 9, which is not listed",
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
        np.testing.assert_array_equal(decoded(code(frame)), frame)


@pytest.mark.filterwarnings("ignore:__array__")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 40), st.floats(-5, 30)), min_size=3, max_size=8))
def test_random_polygons_match_pycocotools(points):
    polygon = [[number for point in points for number in point]]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygon, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(decoded(polygon), expected > 0)


def test_many_polygons_of_one_object_are_merged_as_pycocotools_merges_them(tmp_path):
    rng = np.random.default_rng(0)
    polygons = [[float(number) for number in rng.integers(0, HEIGHT, 6)] for _ in range(37)]
    merged = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH))).astype(bool)
    record = record_of(write(tmp_path, truth_of([annotation(1, polygons)])))
    np.testing.assert_array_equal(record.objects[0].mask.full(), merged)
