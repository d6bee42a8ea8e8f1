"""Mask operations on crops against scipy and scikit-image on the whole frame."""

import subprocess
import sys

import numpy as np
import pytest
import skimage.measure
import skimage.morphology
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from schemas.crop import area, crop_mask, tight_box
from stages.morphology import centre, components, cut, eroded, fill_holes, minus, opened

THOROUGH = settings(deadline=None, max_examples=120)


@st.composite
def frames(draw, max_side=14):
    """Noise, or a few rectangles added and cut out, anywhere in the frame and often at its border."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    if draw(st.booleans()):
        return draw(arrays(np.bool_, (height, width), elements=st.booleans()))
    frame = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 5))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        rows, cols = draw(st.integers(1, height)), draw(st.integers(1, width))
        frame[top : top + rows, left : left + cols] = draw(st.integers(0, 3)) > 0
    return frame


def crop(frame):
    return crop_mask(frame, *frame.shape)


def assert_is(mask, expected):
    """The same pixels, and a tight box unless the operation keeps its input's."""
    np.testing.assert_array_equal(mask.full(), expected)


@THOROUGH
@given(frames())
def test_fill_holes_matches_scipy(frame):
    assert_is(fill_holes(crop(frame)), ndimage.binary_fill_holes(frame))


def test_fill_holes_fills_holes_that_are_open_only_diagonally_and_leaves_bays():
    frame = np.zeros((7, 7), bool)
    frame[1:6, 1:6] = True
    frame[2, 2] = frame[3, 3] = False
    frame[4, 4:6] = False
    filled = fill_holes(crop(frame)).full()
    assert filled[2, 2]
    assert filled[3, 3]
    assert not filled[4, 4]
    diagonal = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)
    assert fill_holes(crop(diagonal)).full()[1, 1]


def masks_of(found):
    return [found.mask(number) for number in range(len(found.areas))]


@THOROUGH
@given(frames().filter(lambda frame: frame.any()))
def test_components_match_scikit_image_and_come_largest_first(frame):
    labels, count = skimage.measure.label(frame, connectivity=2, return_num=True)
    expected = [labels == number for number in range(1, count + 1)]
    expected.sort(key=lambda part: (-part.sum(), np.flatnonzero(part)[0]))
    found = components(crop(frame))
    assert found.areas == tuple(int(part.sum()) for part in expected)
    assert_is(found.mask(0), expected[0])
    assert {np.flatnonzero(mask.full())[0] for mask in masks_of(found)} == {np.flatnonzero(p)[0] for p in expected}
    for mask in masks_of(found):
        assert_is(mask, labels == labels[mask.full()][0])
        assert mask.box == tight_box(mask.full())


def test_first_of_equally_large_components_contains_the_first_pixel():
    frame = np.zeros((6, 9), bool)
    # The component that starts first reaches further down and lies to the right of the others.
    frame[0:2, 7] = frame[1:3, 0] = frame[1:3, 4] = True
    assert components(crop(frame)).mask(0).box[:2] == (0, 7)
    assert {mask.box[:2] for mask in masks_of(components(crop(frame)))} == {(0, 7), (1, 0), (1, 4)}


def test_mask_without_background_in_its_box_has_no_label_zero():
    frame = np.zeros((5, 5), bool)
    frame[1:4, 1:4] = True
    assert components(crop(frame)).areas == (9,)
    assert components(crop(np.eye(2, dtype=bool))).areas == (2,)


def test_empty_mask_has_no_components():
    # In a process of its own, because OpenCV does not survive an array without pixels.
    code = (
        "import numpy as np\n"
        "from schemas.crop import crop_mask\n"
        "from stages.morphology import components\n"
        "print(len(components(crop_mask(np.zeros((4, 6), bool), 4, 6)).areas))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "0")


@pytest.mark.parametrize("side", [1, 3, 5])
@settings(deadline=None, max_examples=50)
@given(frames())
def test_opened_matches_scikit_image_with_background_around_the_frame(side, frame):
    padded = np.pad(frame, side)
    expected = skimage.morphology.opening(padded, np.ones((side, side), bool))[side:-side, side:-side]
    assert_is(opened(crop(frame), side), expected)


@settings(deadline=None, max_examples=50)
@given(frames())
def test_opened_matches_scipy(frame):
    expected = ndimage.binary_opening(np.pad(frame, 3), np.ones((3, 3)))[3:-3, 3:-3]
    assert_is(opened(crop(frame), 3), expected)


def reference_centre(frame):
    distance = ndimage.distance_transform_edt(np.pad(frame, 1))[1:-1, 1:-1]
    # Squared distances are whole numbers, so that ties are exact here.
    squared = np.rint(distance**2).astype(np.int64)
    return tuple(int(n) for n in np.unravel_index(squared.argmax(), frame.shape))


@THOROUGH
@given(frames().filter(lambda frame: frame.any()))
def test_centre_is_the_first_maximum_of_the_distance_transform_of_the_frame(frame):
    assert centre(crop(frame)) == reference_centre(frame)


@pytest.mark.parametrize("seed", range(6))
def test_centre_of_a_large_blob_matches_the_frame(seed):
    generator = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(generator.standard_normal((180, 240)), 12)
    frame = smooth > np.quantile(smooth, 0.6)
    assert centre(crop(frame)) == reference_centre(frame)


@THOROUGH
@given(frames(), st.integers(0, 4))
def test_eroded_matches_scipy_with_edges_that_do_not_erode(frame, iterations):
    expected = frame
    for _ in range(iterations):
        expected = ndimage.binary_erosion(expected, np.ones((3, 3)), border_value=1)
    assert_is(eroded(crop(frame), iterations), expected)


def test_eroded_keeps_a_mask_that_fills_the_image():
    frame = np.ones((5, 7), bool)
    assert area(eroded(crop(frame), 3)) == 35


@st.composite
def pairs(draw):
    first = draw(frames())
    return first, draw(arrays(np.bool_, first.shape, elements=st.booleans()))


@THOROUGH
@given(pairs())
def test_cut_and_minus_match_the_frames(pair):
    object_frame, frame = pair
    assert_is(cut(crop(frame), crop(object_frame)), frame & object_frame)
    assert_is(minus(crop(object_frame), crop(frame)), object_frame & ~frame)
    kept, rest = cut(crop(frame), crop(object_frame)), minus(crop(object_frame), crop(frame))
    assert area(kept) + area(rest) == object_frame.sum()


def test_empty_masks_stay_empty():
    empty = crop(np.zeros((4, 6), bool))
    assert [area(mask) for mask in (fill_holes(empty), opened(empty, 3), eroded(empty, 2))] == [0, 0, 0]
