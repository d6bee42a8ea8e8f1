"""The first loss of pre-training, and pasted objects, against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.pretrain import cross_entropy_and_dice, place


def test_cross_entropy_and_dice_by_hand():
    target = torch.tensor([[[[1.0, 0.0], [1.0, -1.0]]]])
    logits = torch.zeros(1, 1, 2, 2)
    # Three pixels count, each with probability 1/2: the overlap is 1, the masses are 1.5 and 2.
    expected = math.log(2) + 1 - (2 * 1 + 1) / (1.5 + 2 + 1)
    assert float(cross_entropy_and_dice(logits, target)) == pytest.approx(expected, rel=1e-6)


def test_uncounted_pixels_have_no_gradient():
    logits = torch.zeros(2, 1, 3, 3, requires_grad=True)
    target = torch.ones(2, 1, 3, 3)
    target[0, 0, 0, 0] = target[1] = -1
    cross_entropy_and_dice(logits, target).sum().backward()
    assert logits.grad[0, 0, 0, 0] == 0
    assert not logits.grad[1].any()
    assert logits.grad[0, 0, 1, 1] < 0, "a pixel of the object is to become more likely"


def test_perfect_and_opposite_masks():
    target = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    assert float(cross_entropy_and_dice(40 * (target - 0.5), target)) < 1e-3
    assert float(cross_entropy_and_dice(40 * (0.5 - target), target)) > 10


def test_placed_objects_keep_their_inside():
    pixels = np.full((20, 30, 3), 200, np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    frame = np.full((40, 50, 3), 40, np.uint8)
    put, covered = place(pixels, mask, frame, 2.0, (18, 25))
    expected = np.zeros((40, 50), bool)
    expected[8:28, 15:35] = True
    assert np.array_equal(covered, expected)
    assert (put[9:27, 16:34] == 200).all()
    assert (put[~expected] == 40).all()
    assert ((put >= 40) & (put <= 200)).all()
    assert (frame == 40).all()


def test_enlarged_objects_are_smooth():
    pixels = np.repeat(np.repeat(np.arange(0, 240, 60, dtype=np.uint8)[None, :, None], 4, axis=0), 3, axis=2)
    put, covered = place(pixels, np.ones((4, 4), bool), np.zeros((40, 40, 3), np.uint8), 10.0, (20, 20))
    assert covered.all()
    steps = np.diff(put[20, 2:-2, 0].astype(int))
    assert (steps >= 0).all()
    assert steps.max() <= 7, "60 from pixel to pixel are ten small steps, not one"


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.floats(0.05, 20),
    st.data(),
)
def test_objects_can_be_placed_anywhere_at_any_scale(shape, frame_shape, scale, data):
    mask = data.draw(arrays(bool, shape).filter(lambda found: found.any()))
    centre = data.draw(st.tuples(st.integers(0, frame_shape[0] - 1), st.integers(0, frame_shape[1] - 1)))
    frame = np.full((*frame_shape, 3), 40, np.uint8)
    put, covered = place(np.full((*shape, 3), 200, np.uint8), mask, frame, scale, centre)
    assert put.shape == frame.shape
    assert covered.shape == frame_shape
    assert ((put >= 40) & (put <= 200)).all()
    if not covered.any():
        assert (put == 40).all()


def test_an_empty_mask_cannot_be_placed():
    pixels = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="without a pixel"):
        place(pixels, np.zeros((4, 4), bool), pixels, 1.0, (0, 0))
