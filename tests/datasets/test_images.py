"""Image files of every colour mode, broken ones, and label maps."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.label_maps import check_size, instance_masks
from agg_pipeline.storage.store import Store
from schemas.crop import tight_box
from schemas.errors import ImageError, StorageError

RGB = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def file_of(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    return read_image(Store(str(tmp_path)), "x.bin")[0]


def grey(array):
    return np.repeat(np.asarray(array)[..., None], 3, axis=2)


def test_rgb_and_the_hash_of_the_file(tmp_path):
    content = file_of(Image.fromarray(RGB))
    (tmp_path / "x.png").write_bytes(content)
    pixels, sha256 = read_image(Store(str(tmp_path)), "x.png")
    np.testing.assert_array_equal(pixels, RGB)
    assert pixels.dtype == np.uint8
    assert sha256 == hashlib.sha256(content).hexdigest()


def test_grey_becomes_three_equal_channels(tmp_path):
    np.testing.assert_array_equal(pixels_of(tmp_path, file_of(Image.fromarray(GREY))), grey(GREY))


def test_transparency_is_dropped(tmp_path):
    rgba = np.dstack([RGB, np.zeros_like(GREY)])
    np.testing.assert_array_equal(pixels_of(tmp_path, file_of(Image.fromarray(rgba))), RGB)
    grey_alpha = np.dstack([GREY, np.zeros_like(GREY)])
    np.testing.assert_array_equal(pixels_of(tmp_path, file_of(Image.fromarray(grey_alpha, "LA"))), grey(GREY))


def test_palette_indices_become_their_colours(tmp_path):
    indices = (GREY % 3).astype(np.uint8)
    image = Image.fromarray(indices, "P")
    colours = np.array([[10, 20, 30], [200, 0, 7], [1, 255, 128]], np.uint8)
    image.putpalette(colours.ravel().tolist())
    np.testing.assert_array_equal(pixels_of(tmp_path, file_of(image)), colours[indices])
    np.testing.assert_array_equal(pixels_of(tmp_path, file_of(image, transparency=1)), colours[indices])


def test_black_and_white_has_the_full_range(tmp_path):
    bits = GREY > 128
    np.testing.assert_array_equal(pixels_of(tmp_path, file_of(Image.fromarray(bits))), grey(bits * np.uint8(255)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, kind):
    values = np.linspace(0, 65535, 12 * 17).reshape(12, 17).astype(np.uint16)
    pixels = pixels_of(tmp_path, file_of(Image.fromarray(values), kind))
    np.testing.assert_array_equal(pixels, grey(np.rint(values / 257).astype(np.uint8)))
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert len(np.unique(pixels)) > 150


def test_cmyk_jpeg_has_its_colours(tmp_path):
    flat = np.empty((16, 16, 3), np.uint8)
    flat[:] = (200, 40, 90)
    content = file_of(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=95)
    pixels = pixels_of(tmp_path, content)
    assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)
    assert np.abs(pixels.astype(int) - flat).max() <= 6


def test_pixels_are_as_stored_without_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pixels_of(tmp_path, file_of(Image.fromarray(RGB), "JPEG", exif=exif)).shape == RGB.shape


def test_file_of_another_size_than_listed_is_no_reject(tmp_path):
    """It was replaced while a run works, or a server answers for it."""
    (tmp_path / "x.png").write_bytes(file_of(Image.fromarray(RGB)))
    size = (tmp_path / "x.png").stat().st_size
    assert read_image(Store(str(tmp_path)), "x.png", size)[0].shape == RGB.shape
    (tmp_path / "x.png").write_bytes(b"<html>log in</html>")
    with pytest.raises(StorageError, match=f"x.png was there when .*, and has 19 bytes now instead of {size}$"):
        read_image(Store(str(tmp_path)), "x.png", size)


def test_pixels_are_writable_and_contiguous(tmp_path):
    for image in (Image.fromarray(RGB), Image.fromarray(GREY), Image.fromarray(GREY.astype(np.uint16) * 257)):
        pixels = pixels_of(tmp_path, file_of(image))
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable


def refusal(tmp_path, content):
    with pytest.raises(ImageError) as error:
        pixels_of(tmp_path, content)
    assert error.value.reason == "unreadable_image"
    assert "x.bin" in error.value.detail
    assert str(tmp_path) not in error.value.detail
    assert "\n" not in error.value.detail
    return error.value.detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_file_is_refused(tmp_path, kind):
    content = file_of(Image.fromarray(np.tile(RGB, (8, 8, 1))), kind)
    refusal(tmp_path, content[: len(content) // 2])
    refusal(tmp_path, content[:20])


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\xff\xd8\xff", bytes(1000)])
def test_file_that_is_not_an_image_is_refused(tmp_path, content):
    refusal(tmp_path, content)


def test_file_that_has_gone_since_it_was_listed_is_no_broken_image(tmp_path):
    with pytest.raises(StorageError, match=r"img/none\.jpg was there when its folder was listed, and is not there now"):
        read_image(Store(str(tmp_path)), "img/none.jpg")


def test_file_that_cannot_be_opened_is_refused(tmp_path):
    # A folder in place of the file stands for everything that the system refuses to open.
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(ImageError) as error:
        read_image(Store(str(tmp_path)), "x.jpg")
    assert error.value.reason == "unreadable_image"


def test_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    refusal(tmp_path, file_of(Image.fromarray(RGB)))


def test_texture_format_that_pillow_does_not_know_is_refused(tmp_path):
    content = bytearray(file_of(Image.fromarray(RGB), "DDS"))
    content[80:84] = bytes(4)
    refusal(tmp_path, bytes(content))


class Bytes:
    """A store of one file, without a disk."""

    def __init__(self, content):
        self.content = content

    def read_listed(self, _path, _limit, _size=0):
        return self.content


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP"]), st.data())
def test_damaged_files_raise_nothing_but_image_errors(kind, data):
    content = bytearray(file_of(Image.fromarray(RGB), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels, _ = read_image(Bytes(bytes(content)), "x")
    except ImageError as error:
        assert error.reason == "unreadable_image"
    else:
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.dtype == np.uint8


def expected_masks(labels):
    return [(int(number), labels == number) for number in np.unique(labels) if number > 0]


def assert_masks(labels):
    found = instance_masks(labels)
    expected = expected_masks(labels)
    assert [number for number, _ in found] == [number for number, _ in expected]
    for (_, mask), (_, frame) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mask.full(), frame)
        assert mask.box == tight_box(frame)


@settings(deadline=None, max_examples=80)
@given(
    arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.sampled_from([0, 0, 1, 2, 5, 255]))
)
def test_instances_of_a_label_map(labels):
    assert_masks(labels)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.int64, np.uint64])
def test_label_maps_of_every_whole_number_type(kind):
    assert_masks(np.array([[0, 3, 3], [7, 0, 3]], kind))


def test_sparse_ids():
    assert_masks(np.array([[0, 70_000, 5], [2**31 - 1, 70_000, 0]], np.int64))


def test_sparse_ids_without_background():
    assert_masks(np.array([[70_000, 80_000, 80_000], [70_000, 70_000, 80_000]], np.int64))


@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.uint64])
def test_sparse_ids_of_every_type_that_holds_them(kind):
    assert_masks(np.array([[0, 65_536, 1], [2**31 - 1, 65_536, 0], [0, 0, 0]], kind))
    assert_masks(np.arange(1, 65_536, dtype=kind).reshape(255, 257)[::64, ::64] * 3)


def test_noise_is_no_label_map():
    with pytest.raises(ImageError, match="65,536 instance ids; images have up to 65,535 objects") as error:
        instance_masks(np.arange(1, 65_537).reshape(256, 256) * 3)
    assert error.value.reason == "unreadable_annotation"
    assert len(instance_masks(np.arange(1, 257).reshape(16, 16) * 70_000)) == 256


def test_negative_labels_are_an_image_error():
    with pytest.raises(ImageError, match="-1, below 0"):
        instance_masks(np.array([[-1, 3, 3], [0, -1, 3]], np.int32))
    assert instance_masks(np.zeros((3, 4), np.uint8)) == []


def test_mask_must_have_the_size_of_its_image():
    check_size((12, 17), (12, 17), "the mask")
    with pytest.raises(ImageError) as error:
        check_size((17, 12), (12, 17), "the mask")
    assert error.value.reason == "size_mismatch"
    assert "the mask is 17x12" in error.value.detail
    assert "12x17" in error.value.detail
