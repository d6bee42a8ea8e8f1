"""PASCAL VOC in its exact layout: palette masks of instances and of classes."""

import numpy as np
import pytest
from PIL import Image

from agg_pipeline.datasets.registry import open_dataset
from schemas.errors import ImageError, UserError
from tests.datasets.writers import pascal_colours, write_palette, write_photo

SHAPE = 20, 30
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[1:8, 2:12] = 1
LABELS[9:18, 2:12] = 16
LABELS[4:12, 16:27] = 2
LABELS[8:9, 2:12] = 255
CLASSES = np.zeros(SHAPE, np.uint8)
CLASSES[LABELS == 1] = 15
CLASSES[LABELS == 16] = 12
CLASSES[LABELS == 2] = 20
CLASSES[LABELS == 255] = 255


@pytest.fixture
def root(tmp_path):
    for number, image_id in enumerate(("2007_000032", "2007_000039", "2007_000063")):
        write_photo(tmp_path / "JPEGImages" / f"{image_id}.jpg", *SHAPE, seed=number)
        write_palette(tmp_path / "SegmentationObject" / f"{image_id}.png", LABELS)
        write_palette(tmp_path / "SegmentationClass" / f"{image_id}.png", CLASSES)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000063\n2007_000032\n")
    (lists / "val.txt").write_text("2007_000039\n")
    return tmp_path


def record_of(root):
    dataset = open_dataset("pascal_voc", str(root), "val")
    return dataset.read(dataset.entries[0])


def categories_of(root):
    return {instance.instance_id: instance.category for instance in record_of(root).objects}


def test_ids_of_the_same_grey_level_stay_apart(root):
    with Image.open(root / "SegmentationObject" / "2007_000039.png") as image:
        assert image.mode == "P"
        grey = np.asarray(image.convert("L"))
    assert set(grey[LABELS == 1]) == set(grey[LABELS == 16]), "the palette should make 1 and 16 alike"
    record = record_of(root)
    assert [instance.instance_id for instance in record.objects] == [1, 2, 16]
    for instance in record.objects:
        np.testing.assert_array_equal(instance.mask.full(), instance.instance_id == LABELS)


def test_void_pixels_are_ignored(root):
    np.testing.assert_array_equal(record_of(root).ignore.full(), LABELS == 255)
    write_palette(root / "SegmentationObject" / "2007_000039.png", np.where(LABELS == 255, 0, LABELS))
    assert record_of(root).ignore is None


def test_class_masks_give_the_categories(root):
    assert categories_of(root) == {1: "person", 2: "tvmonitor", 16: "dog"}


def test_object_has_the_class_of_most_of_its_pixels(root):
    classes = np.where(LABELS == 1, 3, CLASSES)
    classes[1:4, 2:12] = 8
    write_palette(root / "SegmentationClass" / "2007_000039.png", classes)
    assert categories_of(root)[1] == "bird"


@pytest.mark.parametrize("number", [0, 21, 255])
def test_class_without_a_name_is_unknown(root, number):
    write_palette(root / "SegmentationClass" / "2007_000039.png", np.full(SHAPE, number))
    assert set(categories_of(root).values()) == {None}


@pytest.mark.parametrize("number", [-1, 2**31 - 1])
def test_class_numbers_of_any_size_are_unknown(root, number):
    classes = np.full(SHAPE, number, np.int32)
    classes[LABELS == 2] = 3
    Image.fromarray(classes).save(root / "SegmentationClass" / "2007_000039.png", "TIFF")
    assert categories_of(root) == {1: None, 2: "bird", 16: None}


def test_set_without_class_masks_has_objects_of_unknown_class(root):
    (root / "SegmentationClass").rename(root / "elsewhere")
    assert categories_of(root) == {1: None, 2: None, 16: None}


def test_all_void_image_has_no_object(root):
    write_palette(root / "SegmentationObject" / "2007_000039.png", np.full(SHAPE, 255))
    record = record_of(root)
    assert record.objects == ()
    assert record.ignore.full().all()


def test_splits_are_the_lists_and_the_default_is_train(root):
    dataset = open_dataset("pascal_voc", str(root), None)
    assert dataset.split == "train"
    assert [entry.image_id for entry in dataset.entries] == ["2007_000032", "2007_000063"]
    assert len(dataset.classes) == 20
    with pytest.raises(UserError, match=r"test\.txt does not exist; possible: train, val, or a list file \(\*\.txt\)$"):
        open_dataset("pascal_voc", str(root), "test")
    with pytest.raises(UserError, match=r"trian\.txt does not exist; did you mean 'train'\? Possible: train, val, or"):
        open_dataset("pascal_voc", str(root), "trian")


def test_split_may_be_a_list_file(root, tmp_path_factory):
    listed = tmp_path_factory.mktemp("lists") / "mine.txt"
    listed.write_text("2007_000063\n")
    dataset = open_dataset("pascal_voc", str(root), str(listed))
    assert (dataset.split, [entry.image_id for entry in dataset.entries]) == ("mine", ["2007_000063"])


def test_colour_masks_are_refused(root):
    Image.fromarray(pascal_colours()[LABELS]).save(root / "SegmentationObject" / "2007_000039.png")
    with pytest.raises(ImageError, match="has colours; ids are grey levels or palette indices"):
        record_of(root)


@pytest.mark.parametrize("folder", ["SegmentationObject", "SegmentationClass"])
def test_masks_of_another_size_are_refused(root, folder):
    write_palette(root / folder / "2007_000039.png", LABELS.T)
    with pytest.raises(ImageError, match=rf"{folder}/2007_000039\.png is 30x20") as error:
        record_of(root)
    assert error.value.reason == "size_mismatch"


def test_missing_mask_is_refused_when_it_is_read(root):
    (root / "SegmentationObject" / "2007_000039.png").unlink()
    with pytest.raises(ImageError, match=r"SegmentationObject/2007_000039\.png does not exist"):
        record_of(root)


def test_mask_without_an_image_is_a_stray(root):
    write_palette(root / "SegmentationObject" / "2007_999999.png", LABELS)
    (stray,) = open_dataset("pascal_voc", str(root), "val").strays()
    assert stray == "SegmentationObject/2007_999999.png belongs to no image in JPEGImages"
