"""Region of interest: the cases of the protocol, worked out by hand."""

import numpy as np
import pytest

from agg_pipeline.inference.region_of_interest import next_roi
from schemas.crop import Box, Crop, crop_mask
from schemas.records import Click, Interaction

HEIGHT, WIDTH = 800, 1000


def mask(top, left, bottom, right):
    """A mask with these first and last rows and columns."""
    frame = np.zeros((HEIGHT, WIDTH), bool)
    frame[top : bottom + 1, left : right + 1] = True
    return crop_mask(frame, HEIGHT, WIDTH)


def roi(focus, clicks=(), current=None, height=HEIGHT, width=WIDTH):
    image = np.broadcast_to(np.zeros(3, np.uint8), (height, width, 3))
    return next_roi(Interaction(image, tuple(clicks), None, focus, current))


def ends(box):
    return box.top, box.bottom, box.left, box.right


WHOLE = Box(0, 0, HEIGHT, WIDTH)


def test_no_map_or_an_empty_one_is_the_whole_image():
    assert roi(None) == WHOLE
    assert roi(None, [Click(5, 5, True)]) == WHOLE
    assert roi(crop_mask(np.zeros((HEIGHT, WIDTH), bool), HEIGHT, WIDTH), [Click(5, 5, True)]) == WHOLE
    faint = Crop(HEIGHT, WIDTH, Box(0, 0, 400, 400), np.full((400, 400), 0.5, np.float32))
    assert roi(faint) == WHOLE


def test_expansion_by_hand():
    # Rows 200..499: 300 rows about 349.5, half of 420 is 210: 139.5 and 559.5, half to even 140 and 560.
    # Columns 100..399: the same about 249.5: 39.5 and 459.5, half to even 40 and 460.
    assert ends(roi(mask(200, 100, 499, 399))) == (140, 560, 40, 460)


def test_ends_are_rounded_half_to_even():
    # Rows 300..399: 100 rows are widened to 200 about 349.5: 249.5 and 449.5, half to even 250 and 450.
    # Columns 301..400: about 350.5: 250.5 and 450.5, half to even 250 and 450.
    assert ends(roi(mask(300, 301, 399, 400))) == (250, 450, 250, 450)


def test_smallest_side_is_200_and_the_ends_are_inclusive():
    # One pixel: 200 about 350 and 420: both ends inside, so 201 pixels a side.
    assert ends(roi(mask(350, 420, 350, 420))) == (250, 450, 320, 520)
    # 142 rows: 1.4 * 142 = 198.8 is widened; 143 rows: 200.2, half 100.1.
    assert ends(roi(mask(300, 420, 441, 420)))[:2] == (270, 470)
    assert ends(roi(mask(300, 420, 442, 420)))[:2] == (271, 471)


def test_box_is_cut_at_the_image():
    assert ends(roi(mask(0, 0, 99, 499))) == (0, 150, 0, 600)
    assert ends(roi(mask(780, 990, 799, 999))) == (690, 799, 894, 999)
    assert roi(mask(0, 0, HEIGHT - 1, WIDTH - 1)) == WHOLE


def test_small_image_is_seen_whole():
    frame = np.zeros((60, 80), bool)
    frame[30, 40] = True
    assert roi(crop_mask(frame, 60, 80), height=60, width=80) == Box(0, 0, 60, 80)


def test_foreground_is_above_one_half_of_the_map():
    values = np.full((300, 300), 0.5, np.float32)
    values[100, 100] = 0.51
    probability = Crop(HEIGHT, WIDTH, Box(200, 300, 300, 300), values)
    assert ends(roi(probability)) == (200, 400, 300, 500)


def test_positive_clicks_are_part_of_the_foreground_and_negative_ones_are_not():
    focus = mask(300, 400, 300, 400)
    assert ends(roi(focus, [Click(700, 900, False)])) == (200, 400, 300, 500)
    # Rows 300..599 and columns 400..699 with the click.
    assert ends(roi(focus, [Click(599, 699, True)])) == (240, 660, 340, 760)
    assert ends(roi(focus, [Click(599, 400, True), Click(300, 699, True)])) == (240, 660, 340, 760)


CURRENT = Box(140, 40, 421, 421)


def test_current_region_stays_while_it_fits():
    assert roi(mask(200, 100, 499, 399), current=CURRENT) == CURRENT
    assert roi(mask(230, 120, 479, 389), [Click(300, 300, True)], CURRENT) == CURRENT


@pytest.mark.parametrize(
    ("row", "col", "inside"),
    [
        (140, 40, True),
        (559, 459, True),
        (139, 40, False),
        (140, 39, False),
        (560, 459, False),
        (559, 460, False),
    ],
)
def test_last_row_and_column_count_as_outside_for_positive_clicks(row, col, inside):
    focus = mask(200, 100, 499, 399)
    assert (roi(focus, [Click(row, col, True)], CURRENT) == CURRENT) == inside
    assert roi(focus, [Click(row, col, False)], CURRENT) == CURRENT


def test_overlap_is_the_product_of_the_interval_ious():
    focus = mask(200, 100, 499, 399)
    # The new region is rows 140..560, columns 40..460, 421 each: 421/561 times 421/461 is 0.69.
    assert roi(focus, current=Box(0, 0, 561, 461)) == Box(0, 0, 561, 461)
    # 421/641 twice is 0.43, though each of them is above one half.
    assert roi(focus, current=Box(0, 0, 641, 641)) == CURRENT


def test_overlap_of_exactly_one_half_keeps_the_region():
    # One pixel at (350, 420) gives 250..450 by 320..520, 201 each; 402 rows are exactly twice as many.
    focus = mask(350, 420, 350, 420)
    assert roi(focus, current=Box(100, 320, 402, 201)) == Box(100, 320, 402, 201)
    assert roi(focus, current=Box(100, 320, 403, 201)) == Box(250, 320, 201, 201)


def test_region_that_does_not_overlap_is_replaced():
    assert roi(mask(350, 420, 350, 420), current=Box(0, 0, 100, 100)) == Box(250, 320, 201, 201)


def test_empty_map_leaves_a_region_that_is_less_than_half_of_the_image():
    empty = crop_mask(np.zeros((HEIGHT, WIDTH), bool), HEIGHT, WIDTH)
    assert roi(empty, current=CURRENT) == WHOLE
    assert roi(empty, current=Box(0, 0, HEIGHT, WIDTH - 100)) == Box(0, 0, HEIGHT, WIDTH - 100)
