"""The granularity estimator against the formulas written out."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from schemas.config import GranularityConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.presets import PRESETS
from schemas.records import Click, ImageSummary, ObjectMask, Prediction, Proposal, Query, Target
from stages.granularity import choose_click, combine, estimate, peak_difference

PAPER, RELEASED = PRESETS["paper"].granularity, PRESETS["released"].granularity
SHAPE = (50, 60)


def square(top, left, height, width):
    frame = np.zeros(SHAPE, bool)
    frame[top : top + height, left : left + width] = True
    return frame


OBJECT = square(5, 5, 40, 40)
PIXELS = np.zeros((*SHAPE, 3), np.uint8)


def query(frame, kind="part", step=1, thing=OBJECT, image_id="image"):
    object_mask = ObjectMask(1, None, crop_mask(thing, *SHAPE))
    image = ImageSummary(image_id, "x.jpg", *SHAPE, "", "")
    return Query(Target(image, object_mask), kind, Proposal(step, (Click(1, 1, True),), crop_mask(frame, *SHAPE)))


class Constant:
    """Gives the same probability for every interaction."""

    def __init__(self, probability):
        self.probability = np.asarray(probability, np.float32)
        self.calls = []

    def predict(self, interactions):
        self.calls.append(list(interactions))
        box = Box(0, 0, *SHAPE)
        return [Prediction(Crop(*SHAPE, box, self.probability), box) for _ in interactions]


def measured(frame, probability, config=PAPER, kind="part", thing=OBJECT):
    model = Constant(probability)
    (found,) = estimate([query(frame, kind, thing=thing)], [PIXELS], model, config, choose_click(config, 0, "toy"))
    return found


RAMP = np.tile(np.linspace(0.1, 0.9, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))


def test_equations_by_hand():
    part = square(5, 5, 40, 10)
    found = measured(part, RAMP)
    peak_part = np.float32(RAMP[part].max()) - np.float32(RAMP[part].min())
    peak_object = np.float32(RAMP[OBJECT].max()) - np.float32(RAMP[OBJECT].min())
    assert peak_part.dtype == np.float32
    scale, semantic = 400 / 1600, float(peak_part) / float(peak_object)
    assert (found.peak_proposal, found.peak_object) == (float(peak_part), float(peak_object))
    assert (found.scale, found.semantic) == (scale, semantic)
    assert found.granularity == 0.5 * scale + 0.5 * semantic
    assert found.bin == round(10 * found.granularity)
    assert found.mask is found.query.part.mask
    assert all(type(value) is float for value in (found.scale, found.semantic, found.granularity))


@settings(deadline=None, max_examples=150)
@given(st.floats(1e-6, 2.0), st.floats(0.0, 1.0), st.floats(0.05, 1.0), st.floats(0.0, 1.0))
def test_combination_is_equations_4_to_6(ratio, peak, peak_object, weight):
    scale, semantic, granularity = combine(ratio, peak, peak_object, replace(PAPER, weight=weight))
    assert scale == min(1.0, ratio)
    assert semantic == min(1.0, peak / peak_object)
    assert granularity == pytest.approx((1 - weight) * scale + weight * semantic, abs=1e-15)
    assert 0.0 <= granularity <= 1.0


def test_weight_chooses_between_scale_and_semantic():
    assert combine(0.25, 0.6, 0.8, replace(PAPER, weight=0.0))[2] == 0.25
    assert combine(0.25, 0.6, 0.8, replace(PAPER, weight=1.0))[2] == 0.6 / 0.8


@pytest.mark.parametrize("peak_object", [0.0, 0.01, 0.0499])
def test_flat_object_has_the_scale_as_its_semantic_granularity(peak_object):
    assert combine(0.3, 0.02, peak_object, PAPER) == (0.3, 0.3, pytest.approx(0.3))


def test_threshold_of_flatness_itself_is_not_flat():
    assert combine(0.3, 0.025, 0.05, PAPER)[1] == 0.5
    found = measured(square(5, 5, 20, 20), np.full(SHAPE, 0.7))
    assert (found.peak_object, found.semantic, found.granularity) == (0.0, 0.25, 0.25)


def test_object_without_any_peak_does_not_divide_by_zero_even_without_a_threshold():
    assert combine(0.3, 0.0, 0.0, replace(PAPER, min_object_peak=0.0)) == (0.3, 0.3, pytest.approx(0.3))


def test_whole_object_has_granularity_1():
    found = measured(OBJECT, RAMP)
    assert (found.scale, found.semantic, found.granularity, found.bin) == (1.0, 1.0, 1.0, 10)


def test_proposal_that_leaves_the_object_is_clipped():
    wide = square(0, 0, 50, 60)
    found = measured(wide, RAMP)
    assert (found.scale, found.semantic, found.granularity) == (1.0, 1.0, 1.0)


def test_peak_difference_looks_inside_the_mask_only():
    probability = np.zeros(SHAPE, np.float32)
    probability[:, 30:] = 1.0
    probability[10, 10] = 0.25
    values = Crop(*SHAPE, Box(0, 0, *SHAPE), probability)
    assert peak_difference(values, crop_mask(square(5, 5, 20, 20), *SHAPE)) == 0.25
    assert peak_difference(values, crop_mask(square(5, 5, 20, 30), *SHAPE)) == 1.0
    ring = square(5, 5, 20, 20) & ~square(10, 10, 1, 1)
    assert peak_difference(values, crop_mask(ring, *SHAPE)) == 0.0


def test_pixels_outside_the_region_of_interest_have_probability_0():
    values = Crop(*SHAPE, Box(0, 0, 10, 60), np.full((10, 60), 0.75, np.float32))
    assert peak_difference(values, crop_mask(square(5, 5, 20, 20), *SHAPE)) == 0.75


def test_input_of_the_estimator_is_one_positive_click_and_the_object_as_prompt():
    model, config = Constant(RAMP), PAPER
    queries = [query(square(5, 5, 11, 11)), query(square(20, 20, 9, 9), "complement", 2)]
    found = estimate(queries, [PIXELS, PIXELS.copy()], model, config, choose_click(config, 0, "toy"))
    (call,) = model.calls
    assert call[0].image is PIXELS
    assert call[1].image is not PIXELS
    for interaction, item, result in zip(call, queries, found, strict=True):
        assert interaction.clicks == (result.click,)
        assert result.click.positive
        assert interaction.prompt is item.target.object.mask
        assert interaction.focus is item.target.object.mask
        assert interaction.roi is None
        assert interaction.granularity is None
    assert [result.query for result in found] == queries
    assert [result.click[:2] for result in found] == [(10, 10), (24, 24)]


def test_released_estimator_has_no_prompt_and_sees_the_whole_image():
    model = Constant(RAMP)
    estimate([query(square(5, 5, 11, 11))], [PIXELS], model, RELEASED, choose_click(RELEASED, 0, "toy"))
    (interaction,) = model.calls[0]
    assert interaction.prompt is None
    assert interaction.focus is None


def blob(seed, share=0.6):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 4)
    return noise > np.quantile(noise, share)


@pytest.mark.parametrize("seed", range(15))
def test_centre_click_lies_in_the_mask(seed):
    frame = blob(seed)
    row, col = choose_click(PAPER, 0, "toy")(query(frame))
    distance = ndimage.distance_transform_edt(np.pad(frame, 1))[1:-1, 1:-1]
    assert frame[row, col]
    assert distance[row, col] == distance.max()


@pytest.mark.parametrize("seed", range(15))
def test_released_click_lies_in_the_eroded_mask(seed):
    frame = blob(seed)
    iterations = math.ceil(0.1 * math.sqrt(frame.sum()))
    core = ndimage.binary_erosion(frame, np.ones((3, 3)), iterations, border_value=1)
    row, col = choose_click(RELEASED, seed, "toy")(query(frame))
    assert frame[row, col]
    assert core[row, col] or not core.any()


def test_released_click_falls_back_to_the_mask_where_erosion_leaves_nothing():
    thin = square(7, 3, 1, 30)
    clicks = {choose_click(RELEASED, seed, "toy")(query(thin)) for seed in range(40)}
    assert len(clicks) > 10
    assert all(thin[click] for click in clicks)


def test_released_click_depends_on_kind_and_step_and_on_nothing_that_was_drawn_before():
    frame = square(0, 0, 50, 60)
    choose = choose_click(RELEASED, 0, "toy")
    part = choose(query(frame, "part", 1))
    assert part != choose(query(frame, "complement", 1))
    assert part != choose(query(frame, "part", 2))
    assert part != choose(query(frame, "part", 1, image_id="other"))
    assert part != choose_click(RELEASED, 1, "toy")(query(frame, "part", 1))
    assert part == choose(query(frame, "part", 1))


@pytest.mark.parametrize(
    ("ratio", "peaks", "scale", "semantic"),
    [
        (0.26, (0.4, 0.8), 0.3, 0.5),
        (0.25, (0.2, 0.8), 0.2, 0.2),
        (0.01, (0.2, 0.8), 0.1, 0.2),
        (0.95, (0.9, 0.8), 1.0, 1.0),
        (1.04, (0.4, 0.8), 1.0, 0.5),
    ],
)
def test_released_rounding(ratio, peaks, scale, semantic):
    found = combine(ratio, *peaks, RELEASED)
    assert found[:2] == (scale, semantic)
    assert found[2] == scale


def test_released_granularity_is_in_effect_the_scale():
    for scale in range(1, 11):
        for semantic in range(11):
            assert combine(scale / 10, semantic / 10, 1.0, RELEASED)[2] == scale / 10


@pytest.mark.parametrize(("columns", "becomes"), [(41, False), (42, False), (43, True), (50, True)])
def test_released_proposal_becomes_the_object_above_a_rounded_scale_of_1(columns, becomes):
    # 42 of 40 columns: 10.5 tenths, half to even 10, so it stays.
    frame = square(5, 5, 40, columns)
    found = measured(frame, RAMP, RELEASED)
    assert (found.mask is found.query.target.object.mask) == becomes
    assert (found.scale, found.granularity) == (1.0, 1.0)
    if becomes:
        assert found.peak_proposal == found.peak_object
        assert found.semantic == 1.0
    # The click was chosen in the proposal, not in the object that takes its place.
    assert frame[found.click.row, found.click.col]


def test_only_proposals_become_the_object():
    frame = square(5, 5, 40, 50)
    assert measured(frame, RAMP, RELEASED, "complement").mask.box.width == 50
    assert measured(frame, RAMP, PAPER).mask.box.width == 50


def test_one_forward_for_a_batch_and_its_order():
    model = Constant(RAMP)
    frames = [square(5, 5, 40, width) for width in (4, 8, 30)]
    config = GranularityConfig()
    found = estimate([query(frame) for frame in frames], [PIXELS] * 3, model, config, choose_click(config, 0, "toy"))
    assert len(model.calls) == 1
    assert [result.scale for result in found] == [0.1, 0.2, 0.75]
