"""Simulated interaction: the next click, the IoU, and when an interaction ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from schemas.config import EvaluateConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.records import Click, Prediction
from stages.evaluate import Step, Subject, Trace, best_granularity, counted_iou, interact, next_click, noc

SHAPE = (40, 50)


def square(top, left, height, width):
    frame = np.zeros(SHAPE, bool)
    frame[top : top + height, left : left + width] = True
    return frame


THING = square(10, 10, 21, 21)
NOTHING = np.zeros(SHAPE, bool)


def test_first_click_is_the_centre_of_the_object():
    assert next_click(NOTHING, THING, None, ()) == Click(20, 20, True)


def test_click_goes_to_the_larger_error():
    assert next_click(THING | square(0, 40, 5, 5), THING, None, ()) == Click(2, 42, False)
    assert next_click(THING & ~square(10, 10, 21, 7), THING, None, ()) == Click(13, 13, True)


def test_equal_errors_give_the_negative_click():
    predicted = (THING & ~square(10, 10, 3, 3)) | square(0, 40, 3, 3)
    assert next_click(predicted, THING, None, ()) == Click(1, 41, False)


def test_where_nothing_is_wrong_the_click_is_negative_at_the_origin():
    assert next_click(THING, THING, None, ()) == Click(0, 0, False)
    everything = [Click(row, col, True) for row in range(10, 13) for col in range(10, 13)]
    assert next_click(THING & ~square(10, 10, 3, 3), THING, None, everything) == Click(0, 0, False)


def test_ignored_pixels_are_no_error():
    counted = ~square(0, 0, 40, 20)
    assert next_click(NOTHING, THING, counted, ()) == Click(15, 25, True)
    assert counted_iou(THING | ~counted, THING, counted) == 1.0


@settings(deadline=None, max_examples=80)
@given(
    arrays(np.bool_, (9, 11)),
    arrays(np.bool_, (9, 11)),
    arrays(np.bool_, (9, 11)),
    st.lists(st.builds(Click, st.integers(0, 8), st.integers(0, 10), st.booleans()), max_size=4),
)
def test_click_is_the_protocols_on_the_whole_frame(predicted, truth, counted, clicks):
    open_pixels = np.ones(truth.shape, bool)
    for click in clicks:
        open_pixels[click.row, click.col] = False
    deepest = []
    for region in (truth & ~predicted & counted, predicted & ~truth & counted):
        distance = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] * open_pixels
        deepest.append((distance.max(), divmod(int(np.round(distance, 6).argmax()), truth.shape[1])))
    (missing, first), (surplus, second) = deepest
    expected = Click(*first, True) if missing > surplus + 1e-6 else Click(*second, False)
    assert next_click(predicted, truth, counted, clicks) == expected


class Learner:
    """Gives the truth to ever more rows with every click; the granularity says how many rows a click brings."""

    def __init__(self):
        self.batches = []

    def predict(self, interactions):
        self.batches.append(len(interactions))
        box = Box(0, 0, *SHAPE)
        found = []
        for interaction in interactions:
            rows = 10 + round(len(interaction.clicks) * 10 * (interaction.granularity or 0.5))
            probability = np.zeros(SHAPE, np.float32)
            probability[:rows] = THING[:rows]
            found.append(Prediction(Crop(*SHAPE, box, probability), box))
        return found


def subject():
    return Subject(np.zeros((*SHAPE, 3), np.uint8), crop_mask(THING, *SHAPE))


def test_interactions_leave_the_batch_when_they_have_reached_their_target():
    model = Learner()
    fast, slow = interact([subject(), subject()], [1.0, 0.5], model, EvaluateConfig(target=0.9))
    assert [len(fast.steps), len(slow.steps)] == [2, 4]
    assert model.batches == [2, 2, 1, 1]
    assert fast.steps[0].iou == pytest.approx(10 / 21)
    assert fast.steps[0].click == Click(20, 20, True)
    assert fast.steps[1].click.positive
    alone = interact([subject()], [0.5], Learner(), EvaluateConfig(target=0.9))
    assert alone[0].steps == slow.steps


def test_without_early_stop_all_clicks_are_made():
    (trace,) = interact([subject()], [1.0], Learner(), EvaluateConfig(target=0.9, early_stop=False, max_clicks=5))
    assert len(trace.steps) == 5
    assert trace.steps[3].iou == 1.0
    assert trace.steps[4].click == Click(0, 0, False)


def trace(ious, granularity=None):
    return Trace(subject(), granularity, tuple(Step(Click(0, 0, True), iou) for iou in ious))


def test_noc_is_the_first_click_that_reaches_the_target():
    assert [noc(trace([0.5, 0.86, 0.84, 0.91]), target, 20) for target in (0.5, 0.85, 0.9, 0.95)] == [1, 2, 4, 20]


def test_best_granularity_has_the_fewest_clicks_then_the_best_first_then_is_the_lowest():
    config = EvaluateConfig(max_clicks=3)
    assert best_granularity([trace([0.1, 0.5, 0.8]), trace([0.2, 0.9])], config) == 1
    # Success at the last click and failure are the same.
    assert best_granularity([trace([0.1, 0.5, 0.95]), trace([0.2, 0.3, 0.4])], config) == 1
    assert best_granularity([trace([0.2, 0.9]), trace([0.2, 0.95]), trace([0.1, 0.9])], config) == 0
