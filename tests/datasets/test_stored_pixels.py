"""Files whose pixels Pillow reads in another way than they are stored: the pixels of OpenCV, or a reject."""

import cv2
import numpy as np
import pytest

from agg_pipeline.datasets.images import read_grey, read_image, read_labels, read_marked
from tests.datasets.raw_images import bmp_file, run_length_bmp_file
from tests.datasets.reading import opencv, read

# An odd width: rows of BMP and of packed bits are padded.
SHAPE = 12, 13
NUMBERS = np.random.default_rng(0).integers(0, 2**32, SHAPE)
RGB = np.dstack([NUMBERS % 256, NUMBERS // 256 % 256, NUMBERS // 65536 % 256]).astype(np.uint8)


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
@pytest.mark.parametrize("palette", ["of colours", "of the indices", "black and white"])
@pytest.mark.parametrize("bits", [4, 8])
def test_bmp_with_run_lengths(bits, palette, literal):
    chosen = PALETTES[palette](2**bits)
    indices = NUMBERS % len(chosen)
    content = run_length_bmp_file(indices, bits, chosen, literal)
    np.testing.assert_array_equal(read(read_labels, content), indices)
    np.testing.assert_array_equal(read(read_image, content), chosen[indices])
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), chosen[indices])


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(("bits", "fields"), [(24, ()), (32, ()), (32, (0xFF0000, 0xFF00, 0xFF))])
def test_bmp_of_colours(bits, fields, down):
    content = bmp_file(RGB, bits, down=down, fields=fields)
    np.testing.assert_array_equal(read(read_image, content), RGB)
    np.testing.assert_array_equal(opencv(content, cv2.IMREAD_COLOR), RGB)
    levels = bmp_file(grey(RGB[..., 0]), bits, down=down, fields=fields)
    np.testing.assert_array_equal(read(read_labels, levels), RGB[..., 0])
