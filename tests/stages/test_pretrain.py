"""The loss of the first half of pre-training, and pasted objects, against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from stages.pretrain import cross_entropy_and_dice, paste


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


def test_pasted_objects_keep_their_inside():
    pixels = np.full((20, 30, 3), 200, np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    behind = np.full((7, 9, 3), 40, np.uint8)
    pasted = paste(pixels, mask, behind)
    assert (pasted[6:14, 11:19] == 200).all()
    outside = np.ones_like(mask)
    outside[4:16, 9:21] = False
    assert (pasted[outside] == 40).all()
    assert ((pasted >= 40) & (pasted <= 200)).all()
