"""Cutting work into batches."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import BatchConfig
from stages.batches import batches

SIZES = st.lists(st.integers(1, 50), max_size=30)


def cut(sizes, count, pixels):
    return [list(batch) for batch in batches(sizes, lambda size: size, BatchConfig(16, count, pixels))]


@settings(deadline=None, max_examples=150)
@given(SIZES, st.integers(1, 6), st.integers(1, 80))
def test_batches_join_to_the_input_within_the_limits(sizes, count, pixels):
    found = cut(sizes, count, pixels)
    assert [size for batch in found for size in batch] == sizes
    for batch in found:
        assert 1 <= len(batch) <= count
        assert sum(batch) <= pixels or len(batch) == 1
    # No batch could have been longer.
    for batch, following in pairwise(found):
        assert len(batch) == count or sum(batch) + following[0] > pixels
    assert cut(sizes, count, pixels) == found


def test_cut_by_hand():
    assert cut([3, 3, 3, 9, 1, 1, 1, 1], 3, 8) == [[3, 3], [3], [9], [1, 1, 1], [1]]
    assert cut([4, 4, 4], 3, 8) == [[4, 4], [4]]
    assert cut([], 3, 8) == []


def test_an_item_above_the_budget_is_alone():
    assert cut([100, 1, 100, 1], 8, 10) == [[100], [1], [100], [1]]


@settings(deadline=None, max_examples=50)
@given(SIZES, st.integers(1, 6), st.integers(1, 80), st.integers(1, 50))
def test_what_follows_does_not_change_the_batches_before(sizes, count, pixels, more):
    before, after = cut(sizes, count, pixels), cut([*sizes, more], count, pixels)
    assert after[: len(before) - 1] == before[:-1]
