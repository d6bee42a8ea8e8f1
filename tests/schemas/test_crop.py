"""Crops against their full frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.crop import (
    Box,
    Crop,
    MaskCrop,
    area,
    common,
    crop_mask,
    enclosing,
    intersection,
    iou,
    iou_above,
    threshold,
    tight_box,
)

QUICK = settings(deadline=None, max_examples=80)
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def masks(draw, shapes=SHAPES):
    return draw(arrays(np.bool_, draw(shapes), elements=st.booleans()))


@st.composite
def mask_pairs(draw):
    shape = draw(SHAPES)
    return draw(arrays(np.bool_, shape)), draw(arrays(np.bool_, shape))


@st.composite
def crops(draw):
    """A crop with values anywhere in its box, so that the box is not always tight."""
    height, width = draw(SHAPES)
    top, left = draw(st.integers(0, height)), draw(st.integers(0, width))
    box = Box(top, left, draw(st.integers(0, height - top)), draw(st.integers(0, width - left)))
    values = draw(arrays(np.float32, (box.height, box.width), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])))
    return Crop(height, width, box, values)


@QUICK
@given(masks())
def test_mask_survives_the_round_trip_through_its_crop(mask):
    crop = crop_mask(mask, *mask.shape)
    assert crop.full().dtype == np.bool_
    np.testing.assert_array_equal(crop.full(), mask)
    assert area(crop) == mask.sum()


@QUICK
@given(masks(), st.integers(0, 4), st.integers(0, 4))
def test_mask_lies_where_it_was_put_in_a_larger_frame(mask, top, left):
    height, width = mask.shape[0] + top + 2, mask.shape[1] + left + 3
    frame = np.zeros((height, width), bool)
    frame[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    np.testing.assert_array_equal(crop_mask(mask, height, width, top, left).full(), frame)


def test_crop_does_not_keep_its_frame_alive():
    mask = np.zeros((50, 50), bool)
    mask[3:5, 3:5] = True
    crop = crop_mask(mask, 50, 50)
    assert not np.shares_memory(crop.bits, mask)
    mask[:] = False
    assert area(crop) == 4


@QUICK
@given(masks())
def test_tight_box_has_foreground_on_each_side(mask):
    box = tight_box(mask)
    if not mask.any():
        assert box is None
        return
    rows, cols = np.nonzero(mask)
    assert (box.top, box.bottom, box.left, box.right) == (rows.min(), rows.max(), cols.min(), cols.max())
    assert all(type(number) is int for number in box)


@QUICK
@given(crops(), st.data())
def test_window_is_a_slice_of_the_frame(crop, data):
    top, left = data.draw(st.integers(0, crop.height)), data.draw(st.integers(0, crop.width))
    box = Box(top, left, data.draw(st.integers(0, crop.height - top)), data.draw(st.integers(0, crop.width - left)))
    expected = crop.full()[top : top + box.height, left : left + box.width]
    np.testing.assert_array_equal(crop.window(box), expected)
    assert crop.window(box).dtype == crop.values.dtype


@pytest.mark.parametrize(
    "box",
    [Box(0, 0, 2, 10), Box(8, 0, 2, 10), Box(0, 0, 10, 2), Box(0, 8, 10, 2), Box(8, 8, 2, 2), Box(0, 4, 2, 2)],
    ids=["above", "below", "left", "right", "corner", "above its columns"],
)
def test_window_beside_the_crop_is_zero(box):
    crop = Crop(10, 10, Box(4, 4, 2, 2), np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(crop.window(box), np.zeros((box.height, box.width), np.float32))


def test_window_inside_the_box_is_a_view():
    crop = Crop(10, 10, Box(2, 2, 6, 6), np.arange(36, dtype=np.float32).reshape(6, 6))
    assert np.shares_memory(crop.window(Box(3, 3, 2, 2)), crop.values)
    assert crop.window(crop.box) is crop.values


@QUICK
@given(mask_pairs())
def test_intersection_and_iou_match_the_frames(pair):
    a, b = pair
    first, second = crop_mask(a, *a.shape), crop_mask(b, *b.shape)
    both, either = np.count_nonzero(a & b), np.count_nonzero(a | b)
    assert intersection(first, second) == both
    assert iou(first, second) == (both / either if either else 0.0)
    for level in (0.0, 0.25, 0.5, 0.98):
        assert iou_above(first, second, level) == (iou(first, second) > level)


@QUICK
@given(crops(), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_threshold_is_strict_and_tight(crop, level):
    mask = threshold(crop, level)
    np.testing.assert_array_equal(mask.full(), crop.full() > level)
    tight = tight_box(mask.full())
    assert mask.box == (tight or Box(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        (Box(0, 0, 2, 2), (2, 3)),
        (Box(-1, 0, 2, 2), (2, 2)),
        (Box(0, -1, 2, 2), (2, 2)),
        (Box(4, 0, 2, 2), (2, 2)),
        (Box(0, 4, 2, 2), (2, 2)),
    ],
)
def test_crop_refuses_a_box_that_does_not_fit(box, shape):
    with pytest.raises(ValueError, match=r"box|Box"):
        Crop(5, 5, box, np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(0, 0, 2, 3), 2),
        (Box(0, 0, 3, 3), 1),
        (Box(-1, 0, 2, 2), 1),
        (Box(0, -1, 2, 2), 1),
        (Box(4, 0, 2, 2), 1),
        (Box(0, 4, 2, 2), 1),
    ],
)
def test_mask_refuses_a_box_that_does_not_fit(box, size):
    with pytest.raises(ValueError, match=r"box|Box"):
        MaskCrop(5, 5, box, np.zeros(size, np.uint8))


def test_mask_takes_one_bit_per_pixel_of_its_box():
    mask = np.zeros((200, 300), bool)
    mask[10:107, 20:121] = True
    assert crop_mask(mask, 200, 300).nbytes == 1225  # 97 x 101 / 8, rounded up
    assert crop_mask(np.zeros((200, 300), bool), 200, 300).nbytes == 0


def test_unpacked_mask_can_be_changed_without_changing_the_mask():
    crop = crop_mask(np.ones((3, 5), bool), 3, 5)
    values = crop.values
    assert values.dtype == np.bool_
    values[:] = False
    assert area(crop) == 15


@QUICK
@given(masks(), st.data())
def test_window_of_a_mask_is_a_slice_of_its_frame(mask, data):
    height, width = mask.shape
    top, left = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    box = Box(top, left, data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left)))
    window = crop_mask(mask, height, width).window(box)
    assert window.dtype == np.bool_
    np.testing.assert_array_equal(window, mask[box.slices])


def test_last_row_and_column_of_a_box_are_inside():
    box = Box(2, 3, 4, 5)
    assert (box.bottom, box.right) == (5, 7)


def test_box_cuts_its_pixels_out_of_an_array():
    frame = np.arange(60).reshape(6, 10)
    np.testing.assert_array_equal(frame[Box(2, 3, 3, 4).slices], frame[2:5, 3:7])
    np.testing.assert_array_equal(np.stack([frame] * 3, axis=2)[Box(2, 3, 3, 4).slices][..., 1], frame[2:5, 3:7])


def test_box_relative_to_another_box_has_the_same_pixels():
    frame = np.arange(60).reshape(6, 10)
    outer, inner = Box(1, 2, 4, 6), Box(2, 3, 3, 4)
    assert inner.relative_to(outer) == Box(1, 1, 3, 4)
    np.testing.assert_array_equal(frame[outer.slices][inner.relative_to(outer).slices], frame[inner.slices])


def test_enclosing_box_is_the_smallest_that_contains_both():
    assert enclosing(Box(2, 3, 4, 5), Box(0, 4, 3, 9)) == Box(0, 3, 6, 10)
    assert common(Box(2, 3, 4, 5), Box(0, 4, 3, 9)) == Box(2, 4, 1, 4)
