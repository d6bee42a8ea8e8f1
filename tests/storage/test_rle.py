"""Run lengths against pycocotools."""

import numpy as np
import pytest
import rlemasklib
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from agg_pipeline.storage.rle import decode, decode_crop, encode
from schemas.crop import Box, MaskCrop, crop_mask

QUICK = settings(deadline=None, max_examples=120)
FRAMES = arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.booleans(), fill=st.booleans())


def reference(frame):
    return coco_mask.encode(np.asfortranarray(frame, np.uint8))["counts"]


@QUICK
@given(FRAMES)
def test_counts_match_pycocotools_and_round_trip(frame):
    counts = encode(crop_mask(frame, *frame.shape))
    assert type(counts) is bytes
    assert counts == reference(frame)
    back = decode(counts, *frame.shape)
    packed, crop = decode_crop(counts, *frame.shape), crop_mask(frame, *frame.shape)
    assert (packed.height, packed.width, packed.box) == (*frame.shape, crop.box)
    np.testing.assert_array_equal(packed.bits, crop.bits)
    assert back.dtype == np.bool_
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, frame)


@pytest.mark.parametrize(
    ("top", "left", "rows", "cols"),
    [(0, 0, 300, 400), (0, 0, 1, 1), (299, 399, 1, 1), (100, 50, 3, 200), (0, 7, 300, 1)],
)
def test_boxes_of_a_large_frame(top, left, rows, cols):
    frame = np.zeros((300, 400), bool)
    frame[top : top + rows, left : left + cols] = True
    assert encode(crop_mask(frame, 300, 400)) == reference(frame)


def test_box_need_not_be_tight():
    values = np.zeros((4, 5), bool)
    values[1:3, 2] = True
    crop = MaskCrop(10, 12, Box(3, 4, 4, 5), np.packbits(values))
    assert encode(crop) == reference(crop.full())


def test_empty_mask():
    frame = np.zeros((5, 7), bool)
    counts = encode(crop_mask(frame, 5, 7))
    assert counts == reference(frame)
    assert not decode(counts, 5, 7).any()


@pytest.mark.parametrize("counts", [b"", b"0", b"zzzz", b"\xff\xfe", b"\x00", b"oooooooooooo", "é".encode()])
@pytest.mark.parametrize("read", [decode, decode_crop])
def test_broken_counts_are_refused(counts, read):
    with pytest.raises(ValueError, match=r".+"):
        read(counts, 5, 7)


@QUICK
@given(st.binary(max_size=12))
def test_random_bytes_are_a_mask_or_a_value_error(counts):
    try:
        mask = decode(counts, 6, 5)
    except ValueError:
        with pytest.raises(ValueError, match=r".+"):
            decode_crop(counts, 6, 5)
        return
    assert mask.shape == (6, 5)
    np.testing.assert_array_equal(decode_crop(counts, 6, 5).full(), mask)


def test_only_the_box_of_a_mask_is_unpacked(monkeypatch):
    counts = encode(MaskCrop(12_000, 12_000, Box(5000, 7000, 3, 4), np.packbits(np.ones((3, 4), bool))))
    sizes = []
    whole = rlemasklib.decode

    def watched(rle):
        sizes.append(tuple(rle["size"]))
        return whole(rle)

    monkeypatch.setattr(rlemasklib, "decode", watched)
    mask = decode_crop(counts, 12_000, 12_000)
    assert (mask.box, int(mask.values.sum())) == (Box(5000, 7000, 3, 4), 12)
    assert sizes == [(3, 4)]


def test_counts_of_another_size_are_refused():
    counts = reference(np.ones((5, 7), bool))
    with pytest.raises(ValueError, match=r".+"):
        decode(counts, 5, 8)
    with pytest.raises(ValueError, match=r".+"):
        decode(counts, 6, 7)
