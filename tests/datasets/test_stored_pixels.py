"""Files whose pixels Pillow reads in another way than they are stored: the pixels of OpenCV, or a reject."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.mask_images import read_grey, read_labels, read_marked
from tests.datasets.raw_images import (
    bmp_file,
    jpeg_2000_of,
    pgm_file,
    png_file,
    png_of_chunks,
    run_length_bmp_file,
    tiff_file,
)
from tests.datasets.reading import opencv, read, refusal

# An odd width: rows of BMP and of packed bits are padded.
SHAPE = 12, 13
NUMBERS = np.random.default_rng(0).integers(0, 2**32, SHAPE)
RGB = np.dstack([NUMBERS % 256, NUMBERS // 256 % 256, NUMBERS // 65536 % 256]).astype(np.uint8)
OPACITY = (NUMBERS >> 24).astype(np.uint8)
EVEN = np.random.default_rng(1).integers(0, 65536, (12, 16))
"""Numbers of 16 bits whose rows of 1, 2, 4 and 12 bits fill whole bytes."""


def grey(values):
    return np.stack([np.asarray(values)] * 3, axis=-1)


def ramp(count, step=1):
    """The grey levels 0, step, 2 * step ... as a palette."""
    return grey(np.arange(count) * step)


def colours(count):
    return np.random.default_rng(count).integers(0, 256, (count, 3))


BLACK_AND_WHITE = np.array([[0, 0, 0], [255, 255, 255]])
PALETTES = {
    "of colours": colours,
    "of the indices": ramp,
    "from black to white": lambda count: ramp(count, 255 // (count - 1)),
    "black and white": lambda _: BLACK_AND_WHITE,
    "white and black": lambda _: BLACK_AND_WHITE[::-1],
    "black": lambda _: BLACK_AND_WHITE[:1],
    "three levels": lambda count: ramp(min(count, 3)),
}
WITH_PALETTE = {
    f"{bits} bit BMP, palette {name}, {order}": (bits, palette(2**bits), {"down": order == "top-down"})
    for bits in (1, 4, 8)
    for name, palette in PALETTES.items()
    for order in ("bottom-up", "top-down")
} | {
    f"{bits} bit BMP of OS/2, palette {name}": (bits, PALETTES[name](2**bits), {"old": True})
    for bits in (1, 4, 8)
    for name in ("of colours", "of the indices", "from black to white")
}


@pytest.mark.parametrize("name", WITH_PALETTE)
def test_bmp_with_a_palette(name):
    bits, palette, form = WITH_PALETTE[name]
    indices = NUMBERS % len(palette)
    content = bmp_file(indices, bits, palette, **form)
    np.testing.assert_array_equal(read(read_labels, content), indices)
    np.testing.assert_array_equal(read(read_image, content), palette[indices])
    np.testing.assert_array_equal(read(read_marked, content), palette[indices].any(axis=2))
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), palette[indices])
    if (palette == palette[:, :1]).all():
        np.testing.assert_array_equal(read(read_grey, content), palette[indices][..., 0])


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("palette", ["of colours", "of the indices", "white and black"])
def test_bmp_with_run_lengths(palette, literal):
    chosen = PALETTES[palette](256)
    indices = NUMBERS % len(chosen)
    content = run_length_bmp_file(indices, 8, chosen, literal)
    np.testing.assert_array_equal(read(read_labels, content), indices)
    np.testing.assert_array_equal(read(read_image, content), chosen[indices])
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), chosen[indices])


@pytest.mark.parametrize(("bits", "palette"), [(4, "of colours"), (4, "of the indices"), (8, "black and white")])
def test_bmp_with_run_lengths_that_versions_of_pillow_read_in_several_ways_is_refused(bits, palette):
    chosen = PALETTES[palette](2**bits)
    said = refusal(read_labels, run_length_bmp_file(NUMBERS % len(chosen), bits, chosen, True))
    assert said.startswith("x: a BMP with run lengths is only read with 8 bits per pixel and more colours")


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(("bits", "fields"), [(24, ()), (32, ()), (32, (0xFF0000, 0xFF00, 0xFF))])
def test_bmp_of_colours(bits, fields, down):
    content = bmp_file(RGB, bits, down=down, fields=fields)
    np.testing.assert_array_equal(read(read_image, content), RGB)
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), RGB)
    levels = bmp_file(grey(RGB[..., 0]), bits, down=down, fields=fields)
    np.testing.assert_array_equal(read(read_labels, levels), RGB[..., 0])


def test_bmp_of_5_bits_per_colour_is_an_image_and_no_label_map():
    levels = NUMBERS % 32
    content = bmp_file(levels * 1024 + levels * 32 + levels, 16)
    np.testing.assert_array_equal(read(read_image, content), grey(levels * 255 // 31))
    # OpenCV makes 248 of the largest number, 31.
    assert np.abs(opencv(content, cv2.IMREAD_COLOR).astype(int) - grey(levels * 255 // 31)).max() <= 7
    assert "several channels of more or fewer than 8 bits" in refusal(read_labels, content)


def deflated(values, bits, **form):
    return tiff_file(values, bits, deflated=True, **form)


WRITERS = {"raw": tiff_file, "deflated": deflated}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_tiff_of_signed_numbers(bits, big, writer):
    values = NUMBERS % 2**bits - 2 ** (bits - 1)
    content = WRITERS[writer](values, bits, signed=True, big=big)
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_UNCHANGED), values)
    if big and bits > 8 and writer == "deflated":
        what = "x: a compressed TIFF of signed numbers in big-endian order is not read; store it as PNG"
        assert refusal(read_labels, content) == what
        return
    labels = read(read_labels, content)
    np.testing.assert_array_equal(labels, values)
    assert labels.dtype == {8: np.int8, 16: np.int32, 32: np.int32}[bits]
    np.testing.assert_array_equal(read(read_marked, content), values != 0)
    for function in (read_image, read_grey):
        assert "signed pixels, whose white is unknown" in refusal(function, content)


@pytest.mark.parametrize("writer", WRITERS)
def test_ids_of_32_bits_without_sign(writer):
    content = WRITERS[writer](NUMBERS, 32)
    labels = read(read_labels, content)
    np.testing.assert_array_equal(labels, NUMBERS)
    assert (labels.dtype, labels.max() > 2**31) == (np.uint32, True)
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_UNCHANGED).view(np.uint32), NUMBERS)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("writer", WRITERS)
def test_tiff_whose_0_is_white(bits, writer):
    values, most = EVEN % 2**bits, 2**bits - 1
    content = WRITERS[writer](values, bits, white=0)
    np.testing.assert_array_equal(read(read_labels, content), most - values)
    np.testing.assert_array_equal(read(read_marked, content), values != most)
    np.testing.assert_array_equal(read(read_image, content), grey((most - values) * (255 // most)))
    if bits in (1, 8):
        np.testing.assert_array_equal(opencv(content, cv2.IMREAD_UNCHANGED), (most - values) * (255 // most))


@pytest.mark.parametrize("writer", WRITERS)
def test_tiff_of_16_bits_whose_0_is_white(writer):
    values = NUMBERS % 65536
    values[2:5, 3:9] = 65535
    content = WRITERS[writer](values, 16, white=0)
    what = "x shows 0 in white (WhiteIsZero), so that programs disagree about its ids; store it as PNG"
    assert refusal(read_labels, content) == what
    np.testing.assert_array_equal(read(read_marked, content), values != 65535)
    levels = np.rint((65535 - values) / 257)
    np.testing.assert_array_equal(read(read_grey, content), levels)
    assert np.abs(opencv(content, cv2.IMREAD_COLOR).astype(int) - grey(levels)).max() <= 1


PREMULTIPLIED = "x has levels that are multiplied with their opacity; store it without opacity"


@pytest.mark.parametrize("writer", WRITERS)
def test_masks_whose_levels_are_multiplied_with_their_opacity(writer):
    levels = grey((RGB[..., 0].astype(int) * OPACITY + 127) // 255)
    content = WRITERS[writer](np.dstack([levels, OPACITY]), 8, white=2, extra=[1])
    for function in (read_labels, read_grey, read_marked):
        assert refusal(function, content) == PREMULTIPLIED
    # Where every pixel is opaque nothing was multiplied.
    opaque = WRITERS[writer](np.dstack([grey(RGB[..., 0]), np.full(SHAPE, 255)]), 8, white=2, extra=[1])
    for function in (read_labels, read_grey):
        np.testing.assert_array_equal(read(function, opaque), RGB[..., 0])
    np.testing.assert_array_equal(read(read_marked, opaque), RGB[..., 0] > 0)
    np.testing.assert_array_equal(opencv(opaque, cv2.IMREAD_COLOR), grey(RGB[..., 0]))


def test_grey_levels_multiplied_with_their_opacity_are_not_read():
    content = tiff_file(np.dstack([RGB[..., 0], OPACITY]), 8, extra=[1])
    for function in (read_image, read_labels, read_grey, read_marked):
        # Not every version of Pillow knows them.
        assert refusal(function, content).endswith(" not read; store it as PNG")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("extra", [0, 2])
def test_other_opacity_of_tiff_is_dropped(extra, writer):
    content = WRITERS[writer](np.dstack([grey(RGB[..., 0]), OPACITY]), 8, white=2, extra=[extra])
    np.testing.assert_array_equal(read(read_labels, content), RGB[..., 0])
    np.testing.assert_array_equal(read(read_image, content), grey(RGB[..., 0]))
    levels = WRITERS[writer](np.dstack([RGB[..., 0], OPACITY]), 8, extra=[2])
    np.testing.assert_array_equal(read(read_labels, levels), RGB[..., 0])
    np.testing.assert_array_equal(opencv(levels, cv2.IMREAD_COLOR), grey(RGB[..., 0]))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("writer", WRITERS)
def test_tiff_of_one_plane_per_channel(writer, big):
    content = WRITERS[writer](RGB, 8, white=2, planes=2, big=big)
    np.testing.assert_array_equal(read(read_image, content), RGB)
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), RGB)


@pytest.mark.parametrize("big", [False, True])
def test_planes_of_16_bits_are_read_if_they_are_compressed(big):
    values = RGB.astype(int) * 257
    content = deflated(values, 16, white=2, planes=2, big=big)
    np.testing.assert_array_equal(read(read_image, content), RGB)
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), RGB)
    assert "several channels of more or fewer than 8 bits" in refusal(read_labels, content)


WRONG_TIFF = {
    "planes of 16 bits": (tiff_file(RGB.astype(int) * 257, 16, white=2, planes=2), "one plane per channel"),
    "plane of 16 bits": (tiff_file(NUMBERS % 65536, 16, planes=2), "one plane per channel"),
    "plane of 1 bit whose 0 is white": (tiff_file(EVEN % 2, 1, white=0, planes=2), "one plane per channel"),
    "subsampled colours": (tiff_file(RGB[:, :12], 8, white=6, subsampling=[2, 2]), "subsampled colours"),
    "meaning of 0": (tiff_file(RGB[..., 0], 8, white=None), "does not say whether 0 is black or white"),
    "64 bits": (tiff_file(NUMBERS, 64), "x is a broken TIFF, or one whose kind of pixels is not read; store it as PNG"),
}


@pytest.mark.parametrize("name", WRONG_TIFF)
@pytest.mark.parametrize("function", [read_image, read_labels, read_grey, read_marked])
def test_tiff_that_would_be_read_wrongly_is_refused(function, name):
    content, what = WRONG_TIFF[name]
    assert what in refusal(function, content)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("step", [1, 257])
def test_palette_of_tiff_with_8_or_16_bits(step, writer):
    palette = colours(256)
    content = WRITERS[writer](RGB[..., 0], 8, white=3, colours=(palette.T.ravel() * step).tolist())
    np.testing.assert_array_equal(read(read_image, content), palette[RGB[..., 0]])
    np.testing.assert_array_equal(read(read_marked, content), palette[RGB[..., 0]].any(axis=2))
    np.testing.assert_array_equal(read(read_labels, content), RGB[..., 0])
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), palette[RGB[..., 0]])


@pytest.mark.parametrize(("mode", "kind"), [("L", np.uint8), ("I;16", np.uint16), ("I", np.int32), ("RGB", np.uint8)])
def test_tiff_with_differences_of_neighbours(mode, kind):
    values = RGB if mode == "RGB" else NUMBERS.astype(kind)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 2})
    found = read(read_image if mode == "RGB" else read_labels, buffer.getvalue())
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(opencv(buffer.getvalue(), cv2.IMREAD_UNCHANGED), values)


@pytest.mark.parametrize("clear", [b"\0", b"\xff\x64"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_palette_with_opacity(bits, clear):
    palette = colours(2**bits)
    chunks = (b"PLTE", palette.astype(np.uint8).tobytes()), (b"tRNS", clear)
    whole = png_file(EVEN % 2**bits, bits, 3)
    content = whole[:33] + png_of_chunks(*chunks)[8:] + whole[33:]
    np.testing.assert_array_equal(read(read_labels, content), EVEN % 2**bits)
    np.testing.assert_array_equal(read(read_image, content), palette[EVEN % 2**bits])
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), palette[EVEN % 2**bits])


@pytest.mark.parametrize("bits", [8, 16])
def test_png_grey_level_that_is_transparent(bits):
    values = NUMBERS % 2**bits
    whole = png_file(values, bits)
    content = whole[:33] + png_of_chunks((b"tRNS", struct.pack(">H", values[0, 0])))[8:] + whole[33:]
    np.testing.assert_array_equal(read(read_labels, content), values)
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_UNCHANGED), values)


SMALLEST = (NUMBERS % 5 == 0).astype(int)
WITHOUT_LOW_BITS = {
    "RGB PNG": png_file(grey(SMALLEST), 16, 2),
    "LA PNG": png_file(np.dstack([SMALLEST, SMALLEST]), 16, 4),
    "RGB TIFF": tiff_file(grey(SMALLEST), 16, white=2),
    "PPM": b"P6 13 12 65535\n" + grey(SMALLEST).astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", WITHOUT_LOW_BITS)
def test_colours_of_16_bits_mark_nothing(name):
    # The smallest numbers would be black in 8 bits.
    said = refusal(read_marked, WITHOUT_LOW_BITS[name])
    assert said == "x has several channels of more than 8 bits; store it with 8 bits per channel"


@pytest.mark.parametrize("most", [1, 15, 100, 255, 256, 1000])
def test_grey_colours_of_ppm_are_ids_only_if_nothing_scales_them(most):
    values = NUMBERS % (most + 1)
    content = b"P6 13 12 %d\n" % most + grey(values).astype(">u2" if most > 255 else np.uint8).tobytes()
    np.testing.assert_array_equal(read(read_labels, pgm_file(values, most)), values)
    np.testing.assert_array_equal(read(read_image, content), grey(np.rint(values * 255 / most)))
    if most == 255:
        np.testing.assert_array_equal(read(read_labels, content), values)
    else:
        assert "several channels of more or fewer than 8 bits" in refusal(read_labels, content)


def jpeg_2000(bits, **claims):
    """A JPEG 2000 of the numbers of so many bits."""
    whole = 8 if bits <= 8 else 16
    values = NUMBERS % 2**bits
    buffer = io.BytesIO()
    above = (values - 2 ** (bits - 1) + 2 ** (whole - 1)).astype(np.uint8 if whole == 8 else np.uint16)
    Image.fromarray(above).save(buffer, "JPEG2000")
    return jpeg_2000_of(buffer.getvalue(), bits, **claims), values


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_jpeg_2000_of_other_depths_is_no_label_map(bits):
    content, values = jpeg_2000(bits)
    assert f"has grey levels up to {2**bits - 1}, which programs scale" in refusal(read_labels, content)
    np.testing.assert_array_equal(read(read_marked, content), values > 0)
    # Pillow makes 65,535 - 2 ** (16 - bits) + 1 of white.
    np.testing.assert_allclose(read(read_image, content), grey(values * (255 / (2**bits - 1))), atol=1)


@pytest.mark.parametrize(("bits", "signed"), [(1, False), (4, False), (7, False), (8, True), (16, True)])
@pytest.mark.parametrize("function", [read_image, read_labels, read_grey, read_marked])
def test_jpeg_2000_of_few_bits_or_signed_numbers_is_refused(function, bits, signed):
    said = refusal(function, jpeg_2000(bits, signed=signed)[0])
    assert said == "x: JPEG 2000 with a sign or fewer than 8 bits is not read; store it as PNG"
