"""Resizing: what torch gives with aligned corners, for every size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.inference import resizing
from agg_pipeline.inference.resizing import ResizedMap, resized
from schemas.crop import Box, Crop

sides = st.integers(1, 60)


@given(sides, sides, sides, sides, st.integers(0, 99))
def test_as_torch_does_it(height, width, to_height, to_width, seed):
    values = np.random.default_rng(seed).random((height, width), np.float32)
    theirs = F.interpolate(
        torch.from_numpy(values)[None, None], size=(to_height, to_width), mode="bilinear", align_corners=True
    )[0, 0].numpy()
    ours = resized(values, to_height, to_width)
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_part_of_a_larger_array_is_resized_as_its_copy():
    frame = np.random.default_rng(0).random((50, 70), np.float32)
    window = frame[10:40, 20:55]
    assert np.array_equal(resized(window, 44, 33), resized(window.copy(), 44, 33))


def test_the_same_size_changes_nothing():
    values = np.random.default_rng(0).random((37, 224), np.float32)
    assert np.array_equal(resized(values, 37, 224), values)


@given(sides, sides, st.data())
def test_window_is_that_part_of_the_whole(height, width, data):
    values = np.random.default_rng(0).random((12, 17), np.float32)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(top, left, data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left)))
    whole = resized(values, height, width)
    expected = whole[box.top : box.bottom + 1, box.left : box.right + 1]
    assert np.array_equal(resized(values, height, width, box), expected)


@given(sides, sides, sides, sides)
def test_blocks_change_nothing(height, width, to_height, to_width):
    values = np.random.default_rng(0).random((height, width), np.float32)
    whole = resized(values, to_height, to_width)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(resizing, "BLOCK", 7)
        assert np.array_equal(resized(values, to_height, to_width), whole)


@given(sides, sides, sides, sides, st.sampled_from([np.uint8, np.bool_]))
def test_whole_numbers_are_resized_as_their_floats(height, width, to_height, to_width, dtype):
    values = np.random.default_rng(0).integers(0, 256, (height, width)).astype(dtype)
    expected = resized(values.astype(np.float32), to_height, to_width)
    assert np.array_equal(resized(values, to_height, to_width), expected)


@st.composite
def boxes(draw, outer):
    top, left = draw(st.integers(0, outer.height - 1)), draw(st.integers(0, outer.width - 1))
    height, width = draw(st.integers(0, outer.height - top)), draw(st.integers(0, outer.width - left))
    return Box(outer.top + top, outer.left + left, height, width)


@given(st.data())
def test_map_resized_by_every_use_is_the_resized_map(data):
    frame = Box(0, 0, data.draw(sides), data.draw(sides))
    region = data.draw(boxes(frame).filter(lambda box: box.height and box.width))
    box, window = data.draw(boxes(region)), data.draw(boxes(frame))
    small = np.random.default_rng(0).random((12, 17), np.float32)
    held = resized(small, region.height, region.width, box.relative_to(region))
    expected = Crop(frame.height, frame.width, box, held)
    found = ResizedMap(frame.height, frame.width, region, box, small)
    assert found.nbytes == 12 * 17 * 4
    for ours, theirs in (
        (found.values, expected.values),
        (found.full(), expected.full()),
        (found.window(window), expected.window(window)),
    ):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
