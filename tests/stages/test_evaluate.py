"""Simulated interaction: the next click, the IoU, and when an interaction ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from schemas.config import ClicksConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.records import Click, Prediction
from stages.evaluate import Start, Step, Subject, Trace, best, counted_iou, evaluate, noc
from stages.next_click import first_clicks, next_click

SHAPE = (40, 50)


def square(top, left, height, width):
    frame = np.zeros(SHAPE, bool)
    frame[top : top + height, left : left + width] = True
    return frame


THING = square(10, 10, 21, 21)
NOTHING = np.zeros(SHAPE, bool)
DEFAULT = ClicksConfig()


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
        self.seen = []

    def predict(self, interactions):
        self.batches.append(len(interactions))
        self.seen += interactions
        box = Box(0, 0, *SHAPE)
        found = []
        for interaction in interactions:
            rows = 10 + round(len(interaction.clicks) * 10 * (interaction.granularity or 0.5))
            probability = np.zeros(SHAPE, np.float32)
            probability[:rows] = THING[:rows]
            found.append(Prediction(Crop(*SHAPE, box, probability), box))
        return found


def subject(target=0.9):
    return Subject(np.zeros((*SHAPE, 3), np.uint8), crop_mask(THING, *SHAPE), target)


def starts(*granularities):
    return [Start(granularity) for granularity in granularities]


def alone(granularity, config=DEFAULT, target=0.9):
    """The one trace of one interaction."""
    ((trace,),) = evaluate([subject(target)], [starts(granularity)], Learner(), config)
    return trace


def test_interactions_leave_the_batch_when_they_have_reached_their_target():
    model = Learner()
    (fast,), (slow,) = evaluate([subject(), subject()], [starts(1.0), starts(0.5)], model, DEFAULT)
    assert [len(fast.steps), len(slow.steps)] == [2, 4]
    assert model.batches == [2, 2, 1, 1]
    assert fast.steps[0].iou == pytest.approx(10 / 21)
    assert fast.steps[0].click == Click(20, 20, True)
    assert fast.steps[0].area == 10 * 21
    assert fast.steps[1].click.positive
    assert alone(0.5).steps == slow.steps


def test_each_subject_has_its_own_target():
    (low,), (high,) = evaluate([subject(0.4), subject(0.9)], [starts(1.0), starts(1.0)], Learner(), DEFAULT)
    assert [len(low.steps), len(high.steps)] == [1, 2]


def test_masks_after_the_first_and_the_last_click_are_kept():
    trace = alone(0.5)
    assert np.array_equal(trace.first.full(), THING & (np.arange(SHAPE[0])[:, None] < 15))
    assert np.array_equal(trace.last.full(), THING & (np.arange(SHAPE[0])[:, None] < 30))


def test_without_early_stop_all_clicks_are_made():
    config = ClicksConfig(early_stop=False, max_clicks=5)
    trace = alone(1.0, config)
    assert len(trace.steps) == 5
    assert trace.steps[3].iou == 1.0
    assert trace.steps[4].click == Click(0, 0, False)
    model = Learner()
    ((fast, slow),) = evaluate([subject()], [starts(1.0, 0.2)], model, config)
    assert (len(fast.steps), len(slow.steps), model.batches) == (5, 5, [2] * 5)


def test_interactions_that_have_lost_end():
    model = Learner()
    ((slow, fast, slower),) = evaluate([subject()], [starts(0.5, 1.0, 0.3)], model, DEFAULT)
    assert [len(trace.steps) for trace in (slow, fast, slower)] == [2, 2, 2]
    assert model.batches == [3, 3]
    assert fast.steps == alone(1.0).steps
    assert slow.steps == alone(0.5).steps[:2]


def test_interactions_of_other_subjects_go_on_when_one_has_won():
    ((slow, fast), (other,)) = evaluate([subject(), subject()], [starts(0.5, 1.0), starts(0.5)], Learner(), DEFAULT)
    assert [len(trace.steps) for trace in (slow, fast, other)] == [2, 2, 4]


def test_first_click_can_be_given():
    start = Start(1.0, Click(12, 13, True))
    ((trace,),) = evaluate([subject()], [[start]], Learner(), DEFAULT)
    assert trace.steps[0].click == Click(12, 13, True)
    assert trace.steps[1].click != Click(20, 20, True)


def test_carried_region_of_interest_is_that_of_the_interaction_before():
    config = ClicksConfig(carry_roi=True)
    model = Learner()
    ((slow, fast, slower),) = evaluate([subject()], [starts(0.5, 1.0, 0.3)], model, config)
    # One after the other, and the last one makes the click with which it has lost.
    assert model.batches == [1] * 9
    assert [len(trace.steps) for trace in (slow, fast, slower)] == [4, 2, 3]
    first_of_each = [model.seen[0], model.seen[4], model.seen[6]]
    assert first_of_each[0].roi is None
    assert first_of_each[0].focus is None
    assert all(one.roi == Box(0, 0, *SHAPE) and one.prompt is None for one in first_of_each[1:])
    assert np.array_equal(first_of_each[1].focus.full(), slow.last.full())
    assert np.array_equal(first_of_each[2].focus.full(), fast.last.full())
    # Without it, none of them knows of another.
    fresh = Learner()
    evaluate([subject()], [starts(0.5, 1.0)], fresh, DEFAULT)
    assert all(one.roi is None and one.focus is None for one in fresh.seen[:2])


def test_subjects_with_fewer_interactions_sit_out_when_regions_are_carried():
    model = Learner()
    config = ClicksConfig(carry_roi=True)
    one, two = evaluate([subject(), subject()], [starts(1.0), starts(1.0, 0.5)], model, config)
    assert [len(traces) for traces in (one, two)] == [1, 2]
    assert model.batches == [2, 2, 1, 1, 1]


@settings(deadline=None, max_examples=60)
@given(arrays(np.bool_, (9, 11)), arrays(np.bool_, (9, 11)), st.lists(st.floats(0, 0.999), min_size=1, max_size=5))
def test_jittered_first_clicks_lie_in_the_middle_of_what_counts(truth, ignored, uniforms):
    counted = truth & ~ignored
    if not counted.any():
        return
    clicks = first_clicks(crop_mask(truth, *truth.shape), crop_mask(ignored, *truth.shape), np.array(uniforms))
    assert len(clicks) == len(uniforms)
    distance = ndimage.distance_transform_edt(np.pad(counted, 1))[1:-1, 1:-1]
    for click in clicks:
        assert click.positive
        assert counted[click.row, click.col]
        assert distance[click.row, click.col] >= distance.max() / 2 - 1e-5


def test_jittered_first_clicks_follow_their_numbers():
    mask = crop_mask(THING, *SHAPE)
    first, last, again = first_clicks(mask, None, np.array([0.0, 0.999999, 0.0]))
    assert first == again == Click(15, 15, True)
    assert last == Click(25, 25, True)


def trace(ious, granularity=None):
    nothing = crop_mask(NOTHING, *SHAPE)
    return Trace(Start(granularity), tuple(Step(Click(0, 0, True), iou, 0) for iou in ious), nothing, nothing)


def test_noc_is_the_first_click_that_reaches_the_target():
    assert [noc([0.5, 0.86, 0.84, 0.91], target, 20) for target in (0.5, 0.85, 0.9, 0.95)] == [1, 2, 4, 20]


def test_best_granularity_has_the_fewest_clicks_then_the_best_first_then_is_the_lowest():
    assert best([trace([0.1, 0.5, 0.8]), trace([0.2, 0.9])], 0.9, 3) == 1
    # Success at the last click and failure are the same.
    assert best([trace([0.1, 0.5, 0.95]), trace([0.2, 0.3, 0.4])], 0.9, 3) == 1
    assert best([trace([0.2, 0.9]), trace([0.2, 0.95]), trace([0.1, 0.9])], 0.9, 3) == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8, 1.0]), min_size=2, max_size=6))
def test_pruning_does_not_change_what_is_chosen(granularities):
    config = ClicksConfig(max_clicks=6)
    ((*traces,),) = evaluate([subject()], [starts(*granularities)], Learner(), config)
    whole = [alone(granularity, config) for granularity in granularities]
    assert best(traces, 0.9, 6) == best(whole, 0.9, 6)
    chosen = best(traces, 0.9, 6)
    assert traces[chosen].steps == whole[chosen].steps


def test_of_several_maps_the_truth_takes_the_nearest_and_the_next_click_follows_it():
    def whole(mask):
        return Crop(*SHAPE, Box(0, 0, *SHAPE), mask.astype(np.float32))

    far, near, alike = THING & ~square(10, 10, 21, 15), THING & ~square(10, 10, 3, 3), THING | square(0, 40, 3, 3)
    states = []

    class Several:
        def predict(self, interactions):
            states.extend(interactions)
            return [Prediction(whole(far), Box(0, 0, *SHAPE), (whole(near), whole(alike))) for _ in interactions]

    frame = np.zeros((*SHAPE, 3), np.uint8)
    config = ClicksConfig(max_clicks=2, early_stop=False)

    def steps(ignore=None):
        states.clear()
        subject = Subject(frame, crop_mask(THING, *SHAPE), 0.9, ignore)
        ((trace,),) = evaluate([subject], [[Start()]], Several(), config)
        assert np.array_equal(states[1].prompt.full() > 0.5, trace.first.full())
        return trace.steps

    assert [step.iou for step in steps()] == [441 / 450, 441 / 450]  # alike has 9 pixels too many, near 9 too few
    assert steps()[1].click == Click(1, 41, False)
    # Without its missing corner, near is the mask itself, and comes first.
    assert steps(crop_mask(square(10, 10, 3, 3), *SHAPE))[0].iou == 1.0
