"""The random cells that proposals are compared with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agg_pipeline.proposals.random_cells import random_cells
from schemas.crop import crop_mask
from stages.draws import index, uniforms
from tests.held_memory import peak_bytes

FRAME = np.zeros((40, 50), bool)
FRAME[5:30, 10:45] = True
FRAME[12:20, 20:30] = False


def drawn_cells(mask, count, seed, object_id, repeat):
    return [each.full() for each in random_cells(crop_mask(mask, *mask.shape), count, seed, object_id, repeat)]


def cells_by_distance(mask, count, seed, object_id, repeat):
    """The same cells, from the distances of all pixels to all centres."""
    pixels = np.argwhere(mask)
    cells, partition = [], 0
    while len(cells) < count:
        draws = uniforms(seed, "recall", object_id, repeat, "cells", partition, 7)
        chosen = {index(draw, len(pixels)) for draw in draws[1 : 3 + index(draws[0], 5)]}
        centres = pixels[sorted(chosen)]
        nearest = np.square(pixels[:, None] - centres[None]).sum(axis=2).argmin(axis=1)
        for number in range(len(centres)):
            cell = np.zeros_like(mask)
            cell[tuple(pixels[nearest == number].T)] = True
            cells.append(cell)
        partition += 1
    return cells[:count]


def partitions(mask, cells):
    """Cut a list of cells into complete partitions of the mask; an incomplete last one is left out."""
    whole, current, covered = [], [], np.zeros_like(mask)
    for cell in cells:
        if current and not (mask & ~covered).any() and cell.any():
            whole.append(current)
            current, covered = [], np.zeros_like(mask)
        assert not (covered & cell).any()
        current.append(cell)
        covered = covered | cell
    return whole


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))).filter(lambda mask: mask.any()),
    st.integers(0, 30),
    st.integers(0, 5),
)
def test_random_cells_are_as_many_as_wanted_and_lie_in_the_object(mask, count, repeat):
    cells = drawn_cells(mask, count, 0, "object", repeat)
    assert len(cells) == count
    assert all(cell.shape == mask.shape and cell.dtype == np.bool_ for cell in cells)
    assert not any((cell & ~mask).any() for cell in cells)
    assert all(map(np.array_equal, cells, cells_by_distance(mask, count, 0, "object", repeat)))


@pytest.mark.parametrize("shape", [(90, 130), (200, 3), (1, 300)])
def test_random_cells_are_those_of_the_distances(shape):
    mask = np.random.default_rng(0).random(shape) < 0.7
    cells = drawn_cells(mask, 100, 0, "object", 0)
    assert all(map(np.array_equal, cells, cells_by_distance(mask, 100, 0, "object", 0)))


def test_random_cells_of_a_photograph_take_little_memory():
    mask = np.zeros((3000, 2000), bool)
    mask[100:-100, 100:-100] = True
    packed = crop_mask(mask, *mask.shape)
    peak, areas = peak_bytes(lambda: [np.count_nonzero(cell.values) for cell in random_cells(packed, 40, 0, "a", 0)])
    assert len(areas) == 40
    assert peak < 20 * mask.size


@pytest.mark.parametrize("seed", range(5))
def test_random_cells_partition_the_object(seed):
    found = partitions(FRAME, drawn_cells(FRAME, 40, seed, "object", 0))
    assert len(found) >= 5
    for cells in found:
        assert 2 <= len(cells) <= 6
        np.testing.assert_array_equal(sum(cell.astype(int) for cell in cells), FRAME.astype(int))


def test_random_cells_are_stable_and_different_for_each_repeat_seed_and_object():
    def cells(seed=0, name="object", repeat=0, count=12):
        return np.array(drawn_cells(FRAME, count, seed, name, repeat))

    np.testing.assert_array_equal(cells(), cells())
    np.testing.assert_array_equal(cells(count=5), cells()[:5])
    for other in (cells(seed=1), cells(name="another"), cells(repeat=1)):
        assert (other != cells()).any()
