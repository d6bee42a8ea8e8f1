"""What every format, colour mode and bit depth gives as an image and as a mask, with OpenCV as a second opinion."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from agg_pipeline.datasets import images
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.mask_images import read_grey, read_labels, read_marked
from tests.datasets.raw_images import pgm_file, plain_pgm_file, png_file, tiff_file
from tests.datasets.reading import opencv, read, refusal
from tests.datasets.writers import pascal_colours

RNG = np.random.default_rng(0)
SHAPE = 12, 16
NUMBERS = RNG.integers(0, 65536, SHAPE)
"""Of 16 bits; the lower bits of them are those of smaller depths."""
GREY = (NUMBERS % 256).astype(np.uint8)
# In blocks, so that lossy formats keep the colours, too.
RGB = np.kron(RNG.integers(0, 256, (3, 4, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
OPACITY = RNG.integers(0, 256, SHAPE, np.uint8)
COLOURS = pascal_colours()


def of(bits):
    return NUMBERS % 2**bits


def grey(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def scaled(values, most):
    """Grey levels of 8 bits, of numbers up to ``most``."""
    return grey(np.rint(values * (255 / most)).astype(np.uint8))


def saved(pixels, form, mode=None, **options):
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def palette(form):
    image = Image.frombytes("P", SHAPE[::-1], GREY.tobytes())
    image.putpalette(COLOURS.ravel().tolist())
    buffer = io.BytesIO()
    # Pillow would renumber the colours of a GIF.
    image.save(buffer, form, **({"optimize": False} if form == "GIF" else {}))
    return buffer.getvalue()


def as_ycck(jpeg):
    """A JPEG of CMYK whose Adobe marker says that the colours are stored as brightness and differences."""
    place = jpeg.index(b"Adobe") + 11
    return jpeg[:place] + b"\2" + jpeg[place + 1 :]


WITH_OPACITY = np.dstack([RGB, OPACITY])
GREY_WITH_OPACITY = np.dstack([GREY, OPACITY])
DEEP = NUMBERS.astype(np.uint16)

IMAGES = {
    # name: file, its RGB pixels, largest difference of OpenCV's (None where OpenCV reads it in another way, or not)
    "1 PNG": (saved(GREY > 128, "PNG"), grey((GREY > 128) * np.uint8(255)), 0),
    "1 TIFF": (saved(GREY > 128, "TIFF"), grey((GREY > 128) * np.uint8(255)), 0),
    "1 BMP": (saved(GREY > 128, "BMP"), grey((GREY > 128) * np.uint8(255)), 0),
    "1 PBM": (saved(GREY > 128, "PPM"), grey((GREY > 128) * np.uint8(255)), 0),
    "2 bit PNG": (png_file(of(2), 2), grey(of(2) * 85), 0),
    "4 bit PNG": (png_file(of(4), 4), grey(of(4) * 17), 0),
    "4 bit TIFF": (tiff_file(of(4), 4), grey(of(4) * 17), None),
    **{f"L {form}": (saved(GREY, form), grey(GREY), 0) for form in ("PNG", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")},
    "L WEBP": (saved(GREY, "WEBP", lossless=True), grey(GREY), 0),
    "white is 0 TIFF": (tiff_file(of(8), 8, white=0), grey(255 - of(8)), 0),
    # OpenCV does not scale by the largest number, as the format's definition asks for.
    "PGM up to 15": (pgm_file(of(4), 15), grey(of(4) * 17), None),
    "PGM up to 1000": (pgm_file(NUMBERS % 1001, 1000), scaled(NUMBERS % 1001, 1000), None),
    "plain PGM": (plain_pgm_file(of(4), 15), grey(of(4) * 17), None),
    # OpenCV cuts the lower 8 bits off, where we round.
    **{f"16 bit {form}": (saved(DEEP, form), scaled(NUMBERS, 65535), 1) for form in ("PNG", "TIFF", "JPEG2000")},
    "16 bit PGM": (pgm_file(NUMBERS, 65535), scaled(NUMBERS, 65535), 1),
    "12 bit TIFF": (tiff_file(of(12), 12), scaled(of(12), 4095), None),
    "16 bit white is 0 TIFF": (tiff_file(NUMBERS, 16, white=0), scaled(65535 - NUMBERS, 65535), 1),
    **{f"P {form}": (palette(form), COLOURS[GREY], 0) for form in ("PNG", "TIFF", "BMP", "GIF")},
    **{f"RGB {form}": (saved(RGB, form), RGB, 0) for form in ("PNG", "TIFF", "BMP", "PPM", "JPEG2000")},
    "RGB WEBP": (saved(RGB, "WEBP", lossless=True), RGB, 0),
    "16 bit RGB PNG": (png_file(RGB.astype(int) * 257, 16, 2), RGB, 0),
    "RGBA PNG": (saved(WITH_OPACITY, "PNG"), RGB, 0),
    # OpenCV multiplies the colours with the opacity.
    "RGBA TIFF": (saved(WITH_OPACITY, "TIFF"), RGB, None),
    "LA PNG": (saved(GREY_WITH_OPACITY, "PNG"), grey(GREY), 0),
    "LA TIFF": (saved(GREY_WITH_OPACITY, "TIFF"), grey(GREY), 0),
    "16 bit LA PNG": (png_file(GREY_WITH_OPACITY.astype(int) * 257, 16, 4), grey(GREY), 0),
    "CMYK TIFF": (saved(RGB, "TIFF", "CMYK"), RGB, 0),
}
LOSSY = {
    "L JPEG": saved(GREY, "JPEG"),
    "RGB JPEG": saved(RGB, "JPEG"),
    "CMYK JPEG": saved(RGB, "JPEG", "CMYK"),
    "YCCK JPEG": as_ycck(saved(RGB, "JPEG", "CMYK")),
    "JPEG in TIFF": saved(RGB, "TIFF", compression="jpeg"),
    "L JPEG in TIFF": saved(GREY, "TIFF", compression="jpeg"),
    "lossy WEBP": saved(RGB, "WEBP", quality=60),
    "lossy WEBP with opacity": saved(WITH_OPACITY, "WEBP", quality=60),
    "animated lossy WEBP": saved(
        RGB, "WEBP", quality=60, save_all=True, append_images=[Image.fromarray(255 - RGB)], duration=50
    ),
    "irreversible JPEG2000": saved(GREY, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[8]),
    "MPO": saved(RGB, "MPO", save_all=True, append_images=[Image.fromarray(RGB)]),
}
LABELS = {
    # name: file, its ids, OpenCV's numbers (None where OpenCV reads it in another way, or not)
    "1 PNG": (saved(GREY > 128, "PNG"), GREY > 128, (GREY > 128) * 255),
    # Programs that shrink PNG files store grey levels with fewer bits, if these can be scaled back.
    "2 bit PNG": (png_file(of(2), 2), of(2) * 85, of(2) * 85),
    "4 bit PNG": (png_file(of(4), 4), of(4) * 17, of(4) * 17),
    # Programs for maps store numbers in the bits that they need.
    "4 bit TIFF": (tiff_file(of(4), 4), of(4), None),
    "2 bit TIFF": (tiff_file(of(2), 2), of(2), None),
    **{f"L {form}": (saved(GREY, form), GREY, GREY) for form in ("PNG", "TIFF", "BMP", "PPM", "JPEG2000")},
    "L WEBP": (saved(GREY, "WEBP", lossless=True), GREY, grey(GREY)),
    "compressed TIFF": (saved(GREY, "TIFF", compression="tiff_lzw"), GREY, GREY),
    "deflated TIFF": (saved(GREY, "TIFF", compression="tiff_adobe_deflate"), GREY, GREY),
    "PGM up to 15": (pgm_file(of(4), 15), of(4), of(4)),
    "PGM up to 1000": (pgm_file(NUMBERS % 1001, 1000), NUMBERS % 1001, NUMBERS % 1001),
    "PGM up to 65535": (pgm_file(NUMBERS, 65535), NUMBERS, NUMBERS),
    "plain PGM": (plain_pgm_file(of(4), 15), of(4), None),
    **{f"16 bit {form}": (saved(DEEP, form), NUMBERS, NUMBERS) for form in ("PNG", "TIFF", "JPEG2000")},
    "12 bit TIFF": (tiff_file(of(12), 12), of(12), of(12) * 16),
    "32 bit TIFF": (saved(NUMBERS.astype(np.int32) * 9, "TIFF"), NUMBERS * 9, NUMBERS * 9),
    "signed TIFF": (tiff_file(of(15), 16, signed=True), of(15), of(15)),
    **{f"P {form}": (palette(form), GREY, COLOURS[GREY]) for form in ("PNG", "TIFF", "BMP", "GIF")},
    "grey RGB": (saved(grey(GREY), "PNG"), GREY, grey(GREY)),
    "grey RGBA": (saved(np.dstack([grey(GREY), OPACITY]), "PNG"), GREY, None),
    "LA": (saved(GREY_WITH_OPACITY, "PNG"), GREY, None),
    "grey RGB JPEG2000": (saved(grey(GREY), "JPEG2000"), GREY, grey(GREY)),
}
LABEL_TYPES = {
    # name: type of its ids, where 8 bits cannot hold those that the file may have
    **{f"16 bit {form}": np.uint16 for form in ("PNG", "TIFF", "JPEG2000")},
    **dict.fromkeys(("12 bit TIFF",), np.uint16),
    **dict.fromkeys(("PGM up to 1000", "PGM up to 65535", "32 bit TIFF", "signed TIFF"), np.int32),
}
FRACTIONS = saved(GREY.astype(np.float32) / 255, "TIFF")
REFUSED_LABELS = {
    "RGB": (saved(RGB, "PNG"), "has colours"),
    "CMYK": (saved(grey(GREY), "TIFF", "CMYK"), "has colours"),
    # The ids below 256 would all be 0.
    "16 bit RGB PNG": (png_file(grey(of(8)), 16, 2), "several channels"),
    "16 bit LA PNG": (png_file(np.dstack([of(8), of(8)]), 16, 4), "several channels"),
    "16 bit PPM": (b"P6 16 12 65535\n" + grey(of(8)).astype(">u2").tobytes(), "several channels"),
    "PPM up to 1000": (b"P6 16 12 1000\n" + grey(of(8)).astype(">u2").tobytes(), "several channels"),
    "fractions": (FRACTIONS, "whole numbers"),
}
REFUSED_IMAGES = {
    "fractions": FRACTIONS,
    "not a number": saved(np.full(SHAPE, np.nan, np.float32), "TIFF"),
    "PFM": saved(GREY.astype(np.float32), "PPM"),
    "32 bit": saved(GREY.astype(np.int32), "TIFF"),
    "signed 16 bit": tiff_file(of(8), 16, signed=True),
}


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_of_an_image(name):
    content, expected, difference = IMAGES[name]
    pixels = read(read_image, content)
    np.testing.assert_array_equal(pixels, expected)
    assert (pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (np.uint8, True, True)
    if difference is not None:
        second = opencv(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert np.abs(second.astype(int) - expected).max() <= difference


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_converted_in_strips_has_the_same_pixels(name, monkeypatch):
    monkeypatch.setattr(images, "STRIP", 5)
    content, expected, _ = IMAGES[name]
    np.testing.assert_array_equal(read(read_image, content), expected)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_are_images_and_no_label_maps(name):
    pixels = read(read_image, LOSSY[name])
    second = opencv(LOSSY[name], cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    # The programs round differently.
    assert np.abs(pixels.astype(int) - second).max() <= 3
    assert "with lossy compression, which changes ids; store it as PNG" in refusal(read_labels, LOSSY[name])


@pytest.mark.parametrize("name", LABELS)
def test_ids_of_a_label_map(name):
    content, expected, second = LABELS[name]
    labels = read(read_labels, content)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == LABEL_TYPES.get(name, np.uint8)
    assert labels.base is None
    if second is not None:
        np.testing.assert_array_equal(opencv(content, cv2.IMREAD_UNCHANGED), second)


@pytest.mark.parametrize("name", REFUSED_LABELS)
def test_label_maps_that_would_lose_ids_are_refused(name):
    content, what = REFUSED_LABELS[name]
    assert what in refusal(read_labels, content)


@pytest.mark.parametrize("name", REFUSED_IMAGES)
def test_images_whose_white_is_unknown_are_refused(name):
    what = "x has 32-bit or signed pixels, whose white is unknown; store it with 8 or 16 bits per channel"
    assert refusal(read_image, REFUSED_IMAGES[name]) == what
    assert refusal(read_grey, REFUSED_IMAGES[name]) == what


@pytest.mark.parametrize("function", [read_image, read_grey, read_labels, read_marked])
def test_cielab_is_refused(function):
    """Pillow and OpenCV turn it into different colours, and its black into a colour that marks a pixel."""
    content = io.BytesIO()
    Image.frombytes("LAB", RGB.shape[1::-1], RGB.tobytes()).save(content, "TIFF")
    assert refusal(function, content.getvalue()) == "x: its colours are CIELab; store it in RGB"


@pytest.mark.parametrize("name", [name for name in IMAGES if "RGB" not in name and "P " not in name])
def test_grey_levels_of_a_mask_are_those_of_the_image(name):
    content, expected, _ = IMAGES[name]
    if (expected[..., 0] == expected[..., 1]).all():
        np.testing.assert_array_equal(read(read_grey, content), expected[..., 0])


SMALLEST = np.zeros(SHAPE, int)
SMALLEST[3:7, 3:9] = 1
HALVES = np.zeros((*SHAPE, 3), np.uint8)
HALVES[:6] = 255
MARKED = {
    "1 PNG": (saved(SMALLEST > 0, "PNG"), SMALLEST > 0),
    "L PNG": (saved(SMALLEST.astype(np.uint8), "PNG"), SMALLEST > 0),
    # The smallest number counts, although it is black in 8 bits.
    "16 bit PNG": (saved(SMALLEST.astype(np.uint16), "PNG"), SMALLEST > 0),
    "12 bit TIFF": (tiff_file(SMALLEST, 12), SMALLEST > 0),
    "32 bit TIFF": (saved(SMALLEST.astype(np.int32), "TIFF"), SMALLEST > 0),
    "P PNG": (palette("PNG"), COLOURS[GREY].any(axis=2)),
    "RGB PNG": (saved(RGB, "PNG"), RGB.any(axis=2)),
    "LA PNG": (saved(np.dstack([SMALLEST, OPACITY]).astype(np.uint8), "PNG"), SMALLEST > 0),
    "RGBA PNG": (saved(np.dstack([HALVES, OPACITY]), "PNG"), HALVES.any(axis=2)),
    # Their numbers are 0 for white, or not 0 for black.
    "CMYK TIFF": (saved(HALVES, "TIFF", "CMYK"), HALVES.any(axis=2)),
    "YCbCr TIFF": (saved(HALVES, "TIFF", "YCbCr", compression="tiff_lzw"), HALVES.any(axis=2)),
    "white is 0 TIFF": (tiff_file(255 - SMALLEST, 8, white=0), SMALLEST > 0),
}


@pytest.mark.parametrize("name", MARKED)
def test_pixels_that_are_not_black_are_marked(name):
    content, expected = MARKED[name]
    marked = read(read_marked, content)
    np.testing.assert_array_equal(marked, expected)
    assert marked.dtype == bool


def test_fractions_mark_nothing():
    assert refusal(read_marked, FRACTIONS) == "x has fractions; masks are whole numbers"


def test_only_the_first_picture_of_a_file_is_read():
    pictures = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for form in ("TIFF", "PNG", "WEBP", "GIF"):
        buffer = io.BytesIO()
        options = {"lossless": True} if form == "WEBP" else {}
        pictures[0].save(buffer, form, save_all=True, append_images=pictures[1:], **options)
        np.testing.assert_array_equal(read(read_image, buffer.getvalue()), RGB)
