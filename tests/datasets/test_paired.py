"""Sets with one mask image per image: GrabCut, Berkeley, DAVIS, and any folder; written by the test, and real."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from agg_pipeline.datasets.registry import open_dataset
from schemas.errors import ImageError, UserError
from tests.datasets.writers import pascal_colours, write_palette, write_photo, write_pixels

SHAPE = 20, 30
TRIMAPS = {"grabcut": ("data_GT", "boundary_GT"), "berkeley": ("images", "masks")}
FOLDERS = {**TRIMAPS, "davis": ("img", "gt"), "folder": ("images", "masks")}


def record_of(root, name, write, values, mask_name="a.png", image_name="a.jpg"):
    """The record of a set with one image; ``write`` puts its mask in place."""
    images, masks = FOLDERS[name]
    write_photo(root / images / image_name, *SHAPE)
    write(root / masks / mask_name, values)
    dataset = open_dataset(name, str(root), None)
    (entry,) = dataset.entries
    return dataset.read(entry)


def refused(root, name, write, values):
    with pytest.raises(ImageError) as error:
        record_of(root, name, write, values)
    assert str(root) not in error.value.detail
    return error.value


def masks_of(record):
    return {instance.instance_id: instance.mask.full() for instance in record.objects}


def levels(*numbers):
    """A grey image with a rectangle of each level."""
    image = np.zeros(SHAPE, np.uint8)
    for place, number in enumerate(numbers):
        image[2 + 3 * place : 5 + 3 * place, 4:20] = number
    return image


@pytest.mark.parametrize("name", TRIMAPS)
def test_trimap_above_128_is_the_object_and_128_is_ignored(tmp_path, name):
    values = levels(255, 129, 128, 127, 1)
    record = record_of(tmp_path, name, write_pixels, values)
    (mask,) = masks_of(record).values()
    np.testing.assert_array_equal(mask, values > 128)
    np.testing.assert_array_equal(record.ignore.full(), values == 128)
    assert (record.image_id, record.objects[0].category, record.objects[0].parts) == ("a", None, ())


@pytest.mark.parametrize("name", TRIMAPS)
def test_trimap_without_unsure_pixels_ignores_nothing(tmp_path, name):
    assert record_of(tmp_path, name, write_pixels, levels(255)).ignore is None


@pytest.mark.parametrize("name", TRIMAPS)
def test_empty_trimap_has_no_object(tmp_path, name):
    assert record_of(tmp_path, name, write_pixels, levels(0)).objects == ()


@pytest.mark.parametrize("name", TRIMAPS)
@pytest.mark.parametrize("code", ["grey and opacity", "rgb", "bmp", "black and white", "palette"])
def test_trimap_is_read_by_its_grey_levels_however_they_are_stored(tmp_path, name, code):
    # Tools that shrink PNG files store few grey levels as one bit or as a palette.
    values = levels(255, 255) if code == "black and white" else levels(255, 128)
    order = np.array([255, 0, 128], np.uint8)
    record = {
        "grey and opacity": lambda: record_of(
            tmp_path, name, write_pixels, np.dstack([values, np.full_like(values, 255)])
        ),
        "rgb": lambda: record_of(tmp_path, name, write_pixels, np.dstack([values] * 3)),
        "bmp": lambda: record_of(tmp_path, name, write_pixels, values, "a.bmp", "a.bmp"),
        "black and white": lambda: record_of(tmp_path, name, write_pixels, values > 0),
        "palette": lambda: record_of(
            tmp_path,
            name,
            lambda path, grey: write_palette(
                path, np.argmax(grey[..., None] == order, axis=2), np.repeat(order[:, None], 3, axis=1)
            ),
            values,
        ),
    }[code]()
    (mask,) = masks_of(record).values()
    np.testing.assert_array_equal(mask, values > 128)
    assert (record.ignore is not None) == (values == 128).any()


def test_davis_takes_any_channel_for_the_object(tmp_path):
    colours = np.zeros((*SHAPE, 3), np.uint8)
    colours[2:5, 3:9, 0] = 128
    colours[8:12, 3:9, 1] = 1
    colours[14:18, 20:25, 2] = 255
    (mask,) = masks_of(record_of(tmp_path, "davis", write_pixels, colours)).values()
    np.testing.assert_array_equal(mask, (colours > 0).any(axis=2))
    assert list(masks_of(record_of(tmp_path, "davis", write_pixels, colours))) == [1]


@pytest.mark.parametrize("channels", [1, 3])
def test_davis_ignores_opacity(tmp_path, channels):
    values = levels(255)
    image = np.dstack([*[values] * channels, np.full_like(values, 255)])
    (mask,) = masks_of(record_of(tmp_path, "davis", write_pixels, image)).values()
    np.testing.assert_array_equal(mask, values > 0)
    clear = np.dstack([*[values] * channels, np.zeros_like(values)])
    (mask,) = masks_of(record_of(tmp_path, "davis", write_pixels, clear)).values()
    np.testing.assert_array_equal(mask, values > 0)


@pytest.mark.parametrize("values", [levels(1, 255), levels(255) > 0, levels(1, 255).astype(np.uint16) * 256])
def test_davis_masks_may_be_grey(tmp_path, values):
    (mask,) = masks_of(record_of(tmp_path, "davis", write_pixels, values)).values()
    np.testing.assert_array_equal(mask, values > 0)


def test_davis_masks_may_have_a_palette(tmp_path):
    (mask,) = masks_of(record_of(tmp_path, "davis", write_palette, levels(1, 2))).values()
    np.testing.assert_array_equal(mask, levels(1, 2) > 0)


def test_folder_ids_are_grey_levels(tmp_path):
    values = levels(1, 7, 255)
    record = record_of(tmp_path, "folder", write_pixels, values)
    assert list(masks_of(record)) == [1, 7, 255]
    for number, mask in masks_of(record).items():
        np.testing.assert_array_equal(mask, values == number)
    assert record.ignore is None


def test_folder_ids_of_16_bits_are_not_cut(tmp_path):
    values = np.zeros(SHAPE, np.uint16)
    values[1:5, 1:9], values[6:9, 3:12], values[10:15, 15:28], values[16:18, :4] = 300, 40000, 65535, 44
    masks = masks_of(record_of(tmp_path, "folder", write_pixels, values))
    # 300 is 44 in eight bits.
    assert list(masks) == [44, 300, 40000, 65535]
    for number, mask in masks.items():
        np.testing.assert_array_equal(mask, values == number)


def test_folder_ids_are_palette_indices(tmp_path):
    values = levels(1, 16, 200)
    masks = masks_of(record_of(tmp_path, "folder", write_palette, values))
    assert list(masks) == [1, 16, 200]
    for number, mask in masks.items():
        np.testing.assert_array_equal(mask, values == number)


@pytest.mark.parametrize(("channels", "opacity"), [(3, None), (3, 0), (3, 255), (1, 0), (1, 255)])
def test_folder_takes_colours_that_are_all_grey(tmp_path, channels, opacity):
    values = levels(3, 9)
    more = [] if opacity is None else [np.full_like(values, opacity)]
    masks = masks_of(record_of(tmp_path, "folder", write_pixels, np.dstack([*[values] * channels, *more])))
    assert list(masks) == [3, 9]
    np.testing.assert_array_equal(masks[9], values == 9)


def test_folder_refuses_colours(tmp_path):
    error = refused(tmp_path, "folder", write_pixels, pascal_colours()[levels(1, 2)])
    assert error.reason == "unreadable_annotation"
    assert error.detail == "masks/a.png has colours; ids are grey levels or palette indices"


def test_folder_refuses_fractions(tmp_path):
    def write(path, values):
        path.parent.mkdir()
        Image.fromarray(values).save(path, "TIFF")

    assert "whole numbers" in refused(tmp_path, "folder", write, np.full(SHAPE, 0.5, np.float32)).detail


@pytest.mark.parametrize("name", FOLDERS)
def test_mask_of_another_size_is_refused(tmp_path, name):
    error = refused(tmp_path, name, write_pixels, levels(255).T)
    assert error.reason == "size_mismatch"
    assert "30x20, its image 20x30" in error.detail


@pytest.mark.parametrize("name", FOLDERS)
def test_image_without_a_mask_is_refused_when_it_is_read(tmp_path, name):
    images, masks = FOLDERS[name]
    write_photo(tmp_path / images / "a.jpg", *SHAPE)
    (tmp_path / masks).mkdir()
    dataset = open_dataset(name, str(tmp_path), None)
    with pytest.raises(ImageError, match=f"{masks} has no mask for {images}/a.jpg"):
        dataset.read(dataset.entries[0])


@pytest.mark.parametrize("name", FOLDERS)
def test_mask_that_is_not_an_image_is_refused(tmp_path, name):
    error = refused(tmp_path, name, lambda path, _: (path.parent.mkdir(), path.write_bytes(b"no image")), None)
    assert error.reason == "unreadable_annotation"
    assert "a.png" in error.detail
    assert "BytesIO" not in error.detail


@pytest.mark.parametrize("name", FOLDERS)
def test_mask_that_no_image_belongs_to_is_a_stray(tmp_path, name):
    images, masks = FOLDERS[name]
    for stem in ("a", "b"):
        write_photo(tmp_path / images / f"{stem}.jpg", *SHAPE)
    for stem in ("a", "b", "c.d"):
        write_pixels(tmp_path / masks / f"{stem}.png", levels(255))
    dataset = open_dataset(name, str(tmp_path), None)
    assert [entry.image_id for entry in dataset.entries] == ["a", "b"]
    assert list(dataset.strays()) == [f"{masks}/c.d.png belongs to no image in {images}"]


@pytest.mark.parametrize("name", FOLDERS)
def test_set_without_published_splits_has_one(tmp_path, name):
    record_of(tmp_path, name, write_pixels, levels(255))
    assert open_dataset(name, str(tmp_path), "all").split == "all"
    with pytest.raises(UserError, match=f"unknown split 'train' of {name}; possible: all, or a list file"):
        open_dataset(name, str(tmp_path), "train")
    with pytest.raises(UserError, match=f"unknown split 'val' of {name}; did you mean 'all'"):
        open_dataset(name, str(tmp_path), "val")


def test_two_images_of_one_stem_are_refused(tmp_path):
    record_of(tmp_path, "folder", write_pixels, levels(1))
    write_photo(tmp_path / "images" / "a.png", *SHAPE)
    with pytest.raises(UserError, match=r"two files of the name a: images/a\.jpg and a\.png"):
        open_dataset("folder", str(tmp_path), None)


def test_folder_with_the_name_of_an_image(tmp_path):
    record_of(tmp_path, "folder", write_pixels, levels(1))
    for name in ("a.png", "b.jpg", "thumbs", ".c.jpg"):
        (tmp_path / "images" / name).mkdir()
    entries = open_dataset("folder", str(tmp_path), None).entries
    assert [(entry.image_id, entry.problem) for entry in entries] == [
        ("a", None),
        ("b", ("unreadable_image", "images/b.jpg is a folder")),
    ]


def test_hidden_files_are_passed_over(tmp_path):
    record_of(tmp_path, "folder", write_pixels, levels(1))
    (tmp_path / "images" / ".DS_Store").write_bytes(b"x")
    assert len(open_dataset("folder", str(tmp_path), None).entries) == 1


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="images has no file"):
        open_dataset("folder", str(tmp_path), None)


def test_fingerprint_changes_with_a_mask(tmp_path):
    record_of(tmp_path, "folder", write_pixels, levels(1))
    before = open_dataset("folder", str(tmp_path), None).fingerprint
    assert open_dataset("folder", str(tmp_path), None).fingerprint == before
    write_pixels(tmp_path / "masks" / "a.png", levels(2))
    assert open_dataset("folder", str(tmp_path), None).fingerprint != before


@settings(max_examples=40, deadline=None)
@given(labels=arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 65535)))
def test_any_instance_map_comes_back(tmp_path_factory, labels):
    root = tmp_path_factory.mktemp("any")
    write_photo(root / "images" / "a.png", *labels.shape)
    write_pixels(root / "masks" / "a.png", labels)
    dataset = open_dataset("folder", str(root), None)
    masks = masks_of(dataset.read(dataset.entries[0]))
    assert list(masks) == sorted(set(labels.ravel().tolist()) - {0})
    assert all((mask == (labels == number)).all() for number, mask in masks.items())


def test_real_grabcut_images_agree_with_their_files(shared):
    root = shared / "data" / "grabcut-mini"
    dataset = open_dataset("grabcut", str(root), None)
    paths = sorted((root / "boundary_GT").iterdir())
    assert [entry.image_id for entry in dataset.entries] == [path.stem for path in paths]
    assert len(paths) == 51
    for entry, path in zip(dataset.entries, paths, strict=True):
        record = dataset.read(entry)
        with Image.open(path) as image:
            trimap = np.asarray(image.convert("L"))
        assert record.pixels.shape == (*trimap.shape, 3)
        (mask,) = masks_of(record).values()
        np.testing.assert_array_equal(mask, trimap > 128)
        np.testing.assert_array_equal(record.ignore.full(), trimap == 128)
    assert not dataset.strays()
