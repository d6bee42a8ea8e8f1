"""Mutated image files: every reader gives pixels of the right kind, or an ImageError."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agg_pipeline.datasets.image_formats import header_notes
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.label_maps import instance_masks
from agg_pipeline.datasets.mask_images import palette_note, read_grey, read_labels, read_marked
from schemas import limits
from schemas.errors import ImageError
from schemas.words import printable
from tests.datasets.raw_images import (
    bmp_file,
    jpeg_2000_of,
    pgm_file,
    plain_pgm_file,
    png_file,
    run_length_bmp_file,
    tiff_file,
)
from tests.fuzz.mutations import fuzzed, mutated_bytes, outcome

RNG = np.random.default_rng(0)
SHAPE = 20, 24
RGB = RNG.integers(0, 256, (*SHAPE, 3), np.uint8)
PIXELS = 1_000_000
"""Most pixels in this test, so that an image of the largest size costs little."""


def _saved(form, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def _turned(form):
    tags = Image.Exif()
    tags[0x0112] = 6
    return _saved(form, exif=tags)


def _animated(form, **options):
    return _saved(form, save_all=True, append_images=[Image.fromarray(255 - RGB)], **options)


GREY = RGB[..., 0].astype(int)
DEEP = GREY * 257
SEEDS = [
    *(_saved(form) for form in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000")),
    *(_saved(form, "L") for form in ("PNG", "JPEG", "TIFF", "JPEG2000")),
    *(_saved(form, "P") for form in ("PNG", "GIF", "TIFF", "BMP")),
    *(_saved(form, "RGBA") for form in ("PNG", "WEBP", "TIFF")),
    *(_saved(form, "1") for form in ("PNG", "TIFF", "PPM")),
    *(_saved(form, "CMYK") for form in ("JPEG", "TIFF")),
    *(_turned(form) for form in ("JPEG", "PNG", "WEBP", "TIFF")),
    *(_animated(form) for form in ("GIF", "PNG", "TIFF", "WEBP", "MPO")),
    *(_saved("TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
    _saved("TIFF", "1", compression="group4"),
    _saved("JPEG", progressive=True),
    _saved("WEBP", lossless=True),
    _saved("JPEG2000", irreversible=True),
    _saved("TIFF", "F"),
    _saved("TIFF", "YCbCr"),
    png_file(DEEP, 16),
    png_file(GREY % 16, 4),
    png_file(np.dstack([DEEP, DEEP]), 16, 4),
    tiff_file(GREY * 16, 12),
    tiff_file(DEEP, 16, white=0),
    pgm_file(DEEP, 65535),
    pgm_file(GREY % 1001, 1000),
    plain_pgm_file(GREY % 16, 15),
    tiff_file(GREY - 128, 8, signed=True),
    tiff_file(DEEP * 65537, 32, deflated=True),
    tiff_file(np.dstack([RGB, RGB[..., :1]]), 8, white=2, planes=2, extra=[2]),
    tiff_file(np.dstack([RGB, RGB[..., :1]]), 8, white=2, extra=[1], deflated=True),
    tiff_file(GREY, 8, white=3, colours=list(range(256)) * 3),
    bmp_file(GREY % 2, 8, [(0, 0, 0), (255, 255, 255)]),
    bmp_file(GREY % 16, 4, [(level, level, level) for level in range(16)]),
    run_length_bmp_file(GREY % 16, 4, [(level, 0, level) for level in range(16)]),
    jpeg_2000_of(_saved("JPEG2000", "L"), 8),
    jpeg_2000_of(_saved("JPEG2000", "L"), 6),
]


class _Bytes:
    """A store of one file, without a disk."""

    def __init__(self, content):
        self.content = content

    def read_listed(self, _path, _limit, _size=0):
        return self.content


def target(data):
    """Read a file as an image and as every kind of mask; raises what is no ImageError."""
    store = _Bytes(data)
    for function in (_image, _labels, _grey, _marked, _notes):
        try:
            function(store)
        except ImageError as error:
            assert error.reason in ("unreadable_image", "unreadable_annotation")
            assert printable(error.detail) == error.detail
            assert "not enough memory" not in error.detail


def _image(store):
    pixels, sha256 = read_image(store, "x")
    assert (pixels.ndim, pixels.shape[2], pixels.dtype, len(sha256)) == (3, 3, np.uint8, 64)
    assert pixels.shape[0] * pixels.shape[1] <= limits.IMAGE_PIXELS


def _labels(store):
    labels = read_labels(store, "x")
    assert labels.ndim == 2
    assert labels.dtype in (np.uint8, np.int8, np.uint16, np.int32, np.uint32)
    # A map of noise has as many masks as pixels.
    if labels.size <= 1000:
        assert sum(mask.values.sum() for _, mask in instance_masks(labels)) == np.count_nonzero(labels)


def _grey(store):
    grey = read_grey(store, "x")
    assert (grey.ndim, grey.dtype) == (2, np.uint8)


def _marked(store):
    marked = read_marked(store, "x")
    assert (marked.ndim, marked.dtype) == (2, bool)


def _notes(store):
    notes = [*header_notes(store, "x"), palette_note(store, "x") or ""]
    assert all(printable(note) == note for note in notes)


def test_seeds_are_images():
    for seed in SEEDS:
        assert sorted(Image.open(io.BytesIO(seed)).size) == sorted(SHAPE)


@fuzzed
@given(st.sampled_from(SEEDS).flatmap(mutated_bytes))
def test_mutated_images_raise_nothing_but_image_errors(data):
    before, limits.IMAGE_PIXELS = limits.IMAGE_PIXELS, PIXELS
    try:
        assert outcome(lambda: target(data)) == "ok"
    finally:
        limits.IMAGE_PIXELS = before
