"""Resizing: what torch gives with aligned corners, for every size."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.inference.resizing import resized
from schemas.crop import Box

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
