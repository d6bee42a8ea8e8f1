"""PartImageNet in its exact layout: class indices, 40 the background; its parts by image; the real sample."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from agg_pipeline.datasets.partimagenet import splits
from agg_pipeline.datasets.parts import open_parts
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError, UserError
from tests.datasets.writers import write_class_names, write_photo, write_pixels

LABELS = np.full((20, 30), 40, np.uint8)
LABELS[1:8, 2:12] = 5
LABELS[9:18, 2:12] = 0
LABELS[0, 20:] = 9
NAMES = {0: "Quadruped Head", 5: "Quadruped Tail", 9: "Wheel"}


@pytest.fixture
def root(tmp_path):
    for split, stems in {"train": ("n01_3",), "val": ("n01_1", "n01_2")}.items():
        for number, stem in enumerate(stems):
            write_photo(tmp_path / "images" / split / f"{stem}.JPEG", *LABELS.shape, seed=number)
            write_pixels(tmp_path / "annotations" / split / f"{stem}.png", LABELS)
    write_class_names(tmp_path, NAMES)
    return tmp_path


def record_of(root):
    dataset = open_dataset("partimagenet", str(root), "val")
    return dataset.read(dataset.entries[0])


def test_parts_are_the_classes_of_an_image_and_zero_is_one(root):
    (instance,) = record_of(root).objects
    assert [(part.part_id, part.label, part.name) for part in instance.parts] == [
        ("0", "Quadruped Head", "quadruped head"),
        ("5", "Quadruped Tail", "quadruped tail"),
        ("9", "Wheel", "wheel"),
    ]
    for part in instance.parts:
        np.testing.assert_array_equal(part.mask.full(), int(part.part_id) == LABELS)
        assert part.parent_id is None


def test_object_is_the_union_of_the_parts(root):
    (instance,) = record_of(root).objects
    np.testing.assert_array_equal(instance.mask.full(), LABELS != 40)


def test_object_has_the_category_that_its_parts_share(root):
    (instance,) = record_of(root).objects
    assert instance.category is None
    write_pixels(root / "annotations" / "val" / "n01_1.png", np.where(LABELS == 9, 40, LABELS).astype(np.uint8))
    (instance,) = record_of(root).objects
    assert instance.category == "Quadruped"


def test_class_index_without_a_name_is_an_image_error(root):
    write_class_names(root, {0: "Quadruped Head", 5: "Quadruped Tail"})
    with pytest.raises(ImageError, match=r"class index 9, which class_names\.json does not name") as error:
        record_of(root)
    assert error.value.reason == "unreadable_annotation"


def test_class_index_below_0_is_no_background(root):
    values = LABELS.astype(np.int32)
    values[12:14, 20:25] = -1
    Image.fromarray(values).save(root / "annotations" / "val" / "n01_1.png", "TIFF")
    with pytest.raises(ImageError, match=r"n01_1\.png has class index -1, which class_names\.json does not name"):
        record_of(root)


def test_largest_class_index_of_8_bits_is_no_background(root):
    write_pixels(root / "annotations" / "val" / "n01_1.png", np.where(LABELS == 9, 255, LABELS).astype(np.uint8))
    with pytest.raises(ImageError, match="class index 255"):
        record_of(root)
    write_class_names(root, NAMES | {255: "Last"})
    (instance,) = record_of(root).objects
    assert [part.part_id for part in instance.parts] == ["0", "5", "255"]
    np.testing.assert_array_equal(instance.parts[2].mask.full(), LABELS == 9)


def test_empty_split_is_refused(root):
    for image in (root / "images" / "val").iterdir():
        image.unlink()
    with pytest.raises(UserError, match="images/val has no file"):
        open_dataset("partimagenet", str(root), "val")


def test_hidden_files_are_no_splits(root):
    (root / "images" / ".DS_Store").touch()
    assert splits(Store(str(root))) == ("train", "val")


def test_image_of_background_alone_has_no_object(root):
    write_pixels(root / "annotations" / "val" / "n01_1.png", np.full_like(LABELS, 40))
    assert record_of(root).objects == ()


def test_only_class_zero_is_an_object(root):
    write_pixels(root / "annotations" / "val" / "n01_1.png", np.zeros_like(LABELS))
    (instance,) = record_of(root).objects
    assert [part.label for part in instance.parts] == ["Quadruped Head"]
    assert instance.mask.full().all()


def test_splits_are_the_folders(root):
    dataset = open_dataset("partimagenet", str(root), None)
    assert (dataset.split, [entry.image_id for entry in dataset.entries]) == ("train", ["n01_3"])
    assert dataset.classes == ("Quadruped Head", "Quadruped Tail", "Wheel")
    with pytest.raises(UserError, match=r"unknown split 'test' of .*; possible: train, val$"):
        open_dataset("partimagenet", str(root), "test")


def test_split_may_be_a_list_file_of_one_of_the_folders(root, tmp_path_factory):
    listed = tmp_path_factory.mktemp("lists") / "some.txt"
    listed.write_text("n01_2\n")
    dataset = open_dataset("partimagenet", str(root), str(listed))
    assert (dataset.split, [entry.image_id for entry in dataset.entries]) == ("some", ["n01_2"])
    assert len(dataset.read(dataset.entries[0]).objects[0].parts) == 3
    listed.write_text("n01_2\nn01_7\n")
    with pytest.raises(UserError, match=r"some\.txt lists n01_7, which is not in .*images/val"):
        open_dataset("partimagenet", str(root), str(listed))
    listed.write_text("n01_9\n")
    with pytest.raises(UserError, match=r"no folder of .*images has an image n01_9"):
        open_dataset("partimagenet", str(root), str(listed))


@pytest.mark.parametrize("content", ["[]", "{}", '{"categories": 5}', '{"categories": [{"id": 1}]}', "no json", "null"])
def test_broken_class_names_are_refused(root, content):
    (root / "class_names.json").write_text(content)
    with pytest.raises(UserError, match=r"class_names\.json"):
        open_dataset("partimagenet", str(root), "val")


def test_class_names_that_occur_twice_are_refused(root):
    text = (root / "class_names.json").read_text().strip()
    (root / "class_names.json").write_text(text[:-1] + ', "categories": []}')
    with pytest.raises(UserError, match=r"class_names\.json has the key 'categories' 2 times; keep one"):
        open_dataset("partimagenet", str(root), "val")


def test_two_classes_of_one_id_are_refused(root):
    listed = [{"id": index, "name": name} for index, name in NAMES.items()]
    (root / "class_names.json").write_text(json.dumps({"categories": [*listed, {"id": 5, "name": "Quadruped Tail"}]}))
    assert len(record_of(root).objects) == 1
    (root / "class_names.json").write_text(json.dumps({"categories": [*listed, {"id": 5, "name": "Biped Tail"}]}))
    with pytest.raises(UserError) as error:
        open_dataset("partimagenet", str(root), "val")
    said = f"{root}/class_names.json gives two classes the same id 5: 'Biped Tail' and 'Quadruped Tail'"
    assert str(error.value) == said


BAD_NAMES = {
    "empty": ("", "the name of class 7 in {} is blank: ''"),
    "blank": (" \u00a0", "the name of class 7 in {} is blank: ' \u00a0'"),
    "escape": ("Dog\x1b[31m", "the name of class 7 in {} has a control character: 'Dog\\x1b[31m'"),
    "several lines": ("Dog\nHead", "the name of class 7 in {} has a control character: 'Dog\\nHead'"),
    "the same": ("Quadruped Tail", "{} gives classes 5 and 7 the same name 'Quadruped Tail'"),
}


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_class_names_that_name_no_single_class_are_refused(root, bad):
    name, said = BAD_NAMES[bad]
    write_class_names(root, NAMES | {7: name})
    with pytest.raises(UserError) as error:
        open_dataset("partimagenet", str(root), "val")
    assert str(error.value) == said.format(root / "class_names.json")


def test_class_with_the_number_of_the_background(root):
    write_class_names(root, NAMES | {40: "Cow Head"})
    with pytest.raises(UserError, match=r"names class 40 'Cow Head', which is the background in the masks of"):
        open_dataset("partimagenet", str(root), "val")
    write_class_names(root, NAMES | {40: "Background"})
    assert len(record_of(root).objects) == 1


def test_class_names_that_are_not_json(root):
    (root / "class_names.json").write_text("{")
    with pytest.raises(UserError, match=r"class_names\.json is not JSON: "):
        open_dataset("partimagenet", str(root), "val")
    (root / "class_names.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"class_names\.json has no list of categories with id and name: object missing"
    ):
        open_dataset("partimagenet", str(root), "val")


def test_image_without_annotation_and_annotation_without_image(root):
    (root / "annotations" / "val" / "n01_1.png").rename(root / "annotations" / "val" / "n01_8.png")
    dataset = open_dataset("partimagenet", str(root), "val")
    with pytest.raises(ImageError, match=r"annotations/val/n01_1\.png does not exist"):
        dataset.read(dataset.entries[0])
    assert list(dataset.strays()) == ["annotations/val/n01_8.png belongs to no image in images/val"]


def test_annotation_of_another_size_is_refused(root):
    write_pixels(root / "annotations" / "val" / "n01_1.png", LABELS.T)
    with pytest.raises(ImageError, match="30x20, its image 20x30"):
        record_of(root)


@pytest.mark.parametrize("where", ["partimagenet:{}", "{}"])
def test_parts_of_an_image_are_found_in_any_split(root, where):
    parts_of = open_parts(where.format(root))
    for image_id in ("n01_1", "n01_3"):
        parts = {part.class_name: part.mask.full() for part in parts_of(image_id)}
        assert list(parts) == ["quadruped head", "quadruped tail", "wheel"]
        np.testing.assert_array_equal(parts["quadruped head"], LABELS == 0)
    assert parts_of("another") == ()


def test_parts_that_cannot_be_read_are_an_error(root):
    (root / "annotations" / "val" / "n01_1.png").unlink()
    parts_of = open_parts(str(root))
    with pytest.raises(UserError, match=r"image n01_1 cannot be read: annotations/val/n01_1\.png does not exist"):
        parts_of("n01_1")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("sbd:/data", "^--parts: data set sbd has no annotated parts; demo, partimagenet, pascal_part have$"),
        ("sbb:/data", "unknown data set 'sbb'"),
        ("pascal_part:", "pascal_part needs its root folder; give it as --parts pascal_part:FOLDER$"),
    ],
)
def test_set_without_parts_is_refused(where, said):
    with pytest.raises(UserError, match=said):
        open_parts(where)


def test_parts_may_lie_in_an_object_store():
    with pytest.raises(UserError, match="memory://parts-of-nobody does not exist"):
        open_parts("memory://parts-of-nobody")


@pytest.mark.parametrize("gone", ["images", "annotations", "class_names.json"])
def test_missing_part_of_the_data_is_refused(root, gone):
    (root / gone).rename(root / "elsewhere")
    with pytest.raises(
        UserError, match=r"is not the root of partimagenet: expected images, annotations, class_names\.json"
    ):
        open_parts(str(root))


def test_demo_has_parts():
    assert open_parts("demo")("demo_100000")


def test_real_val_images_agree_with_their_files(parts_mini):
    dataset = open_dataset("partimagenet", str(parts_mini), "val")
    assert len(dataset.entries) == 50
    names = {
        item["id"]: item["name"] for item in json.loads((parts_mini / "class_names.json").read_text())["categories"]
    }
    assert set(dataset.classes) == set(names.values())
    ours, theirs = Counter(), Counter()
    for entry in dataset.entries:
        with Image.open(parts_mini / "annotations" / "val" / f"{entry.image_id}.png") as image:
            labels = np.asarray(image)
        theirs.update(names[index] for index in np.unique(labels).tolist() if index != 40)
        (instance,) = dataset.read(entry).objects
        assert instance.category == "Person"
        np.testing.assert_array_equal(instance.mask.full(), labels != 40)
        ours.update(part.label for part in instance.parts)
    assert ours == theirs
    assert len(ours) > 10
    assert not dataset.strays()


def test_real_parts_lie_in_their_images(parts_mini):
    path = sorted((parts_mini / "annotations" / "val").glob("*.png"))[0]
    parts = open_parts(f"partimagenet:{parts_mini}")(path.stem)
    assert parts
    with Image.open(path) as image:
        shape = image.size[::-1]
    masks = [part.mask.full() for part in parts]
    assert all(mask.shape == shape and mask.dtype == bool and mask.any() for mask in masks)
    assert sum(mask.astype(int) for mask in masks).max() == 1
    assert all(part.class_name.startswith("person ") for part in parts)
