"""Post-processing and complements: every reason to drop a mask, and what kept masks have in common."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from schemas.crop import area, crop_mask, intersection, iou
from schemas.presets import PRESETS
from schemas.records import Candidate, Click, ImageSummary, Loop, ObjectMask, ObjectProposals, Proposal, Target
from schemas.tables import REASONS
from stages.complement import add_complements, possible_complements
from stages.morphology import components
from stages.postprocess import component_draw, one_component, postprocess, why_dropped

PAPER, RELEASED = PRESETS["paper"].masks, PRESETS["released"].masks
SIDE = 120


def square(top, left, height, width, side=SIDE):
    frame = np.zeros((side, side), bool)
    frame[top : top + height, left : left + width] = True
    return frame


OBJECT = square(10, 10, 100, 100)


def loop_of(masks, thing=OBJECT, ended=None, ended_step=0):
    object_mask = ObjectMask(3, None, crop_mask(thing, *thing.shape))
    image = ImageSummary("image", "x.jpg", *thing.shape, "", "")
    candidates = tuple(
        Candidate(step, (Click(step, step, step == 0),), crop_mask(mask, *mask.shape))
        for step, mask in enumerate(masks)
    )
    return Loop(Target(image, object_mask), candidates, ended, ended_step)


def proposals(masks, config=PAPER, thing=OBJECT, seed=0, **ended):
    return postprocess([loop_of(masks, thing, **ended)], config, seed, "toy")


def with_complements(masks, config=PAPER, thing=OBJECT, seed=0):
    return add_complements(proposals(masks, config, thing, seed), config, seed, "toy")


def reasons(found):
    return [(reject.step, reject.stage, reject.reason) for reject in found.rejects]


def full(masks):
    return [part.mask.full() for part in masks]


def test_later_loops_of_an_object_do_not_repeat_earlier_ones():
    left, right, top = square(10, 10, 100, 40), square(10, 60, 100, 50), square(10, 10, 30, 100)
    first, second = loop_of([left, right], ended="no_click", ended_step=2), loop_of([right, top])
    second = replace(second, candidates=tuple(replace(each, step=each.step + 7) for each in second.candidates))
    second = replace(second, target=first.target)
    found = postprocess([first, second], PAPER, 0, "toy")
    assert [part.step for part in found.parts] == [0, 1, 8]
    assert reasons(found) == [(2, "mask_engine", "no_click"), (7, "postprocess", "duplicate")]


def test_every_reason_occurs():
    empty, outside = np.zeros_like(OBJECT), square(0, 0, 9, 9)
    small, part = square(20, 20, 19, 5), square(10, 10, 100, 40)
    nearly_object = OBJECT & ~square(50, 50, 10, 19)
    nearly_part = part & ~square(60, 10, 10, 15)
    found = proposals([empty, outside, small, nearly_object, part, nearly_part, OBJECT])
    # 1 % of the object of 10,000 pixels is less than 400; a hole of 190 in the object is filled.
    assert reasons(found) == [
        (0, "postprocess", "empty"),
        (1, "postprocess", "empty"),
        (2, "postprocess", "small"),
        (3, "postprocess", "equals_object"),
        (5, "postprocess", "duplicate"),
        (6, "postprocess", "equals_object"),
    ]
    (kept,) = found.parts
    assert (kept.step, kept.clicks) == (4, (Click(4, 4, False),))
    np.testing.assert_array_equal(kept.mask.full(), part)
    assert all(reject.reason in REASONS for reject in found.rejects)
    assert {(reject.image_id, reject.instance_id) for reject in found.rejects} == {("image", 3)}


def test_end_without_a_click_is_recorded_with_its_step():
    found = proposals([square(10, 10, 50, 50)], ended="no_click", ended_step=1)
    assert reasons(found) == [(1, "mask_engine", "no_click")]
    # An empty mask is recorded once, as the empty candidate that it is.
    assert reasons(proposals([np.zeros_like(OBJECT)], ended="empty", ended_step=0)) == [(0, "postprocess", "empty")]


@pytest.mark.parametrize(
    ("pixels", "thing", "kept"),
    [
        (99, OBJECT, False),
        (100, OBJECT, True),
        (399, square(0, 0, 300, 300, 300), False),
        (400, square(0, 0, 300, 300, 300), True),
    ],
)
def test_minimum_area_is_400_pixels_or_1_percent_of_the_object(pixels, thing, kept):
    mask = np.zeros_like(thing)
    mask[20:60, 20:100][np.unravel_index(np.arange(pixels), (40, 80))] = True
    assert (len(proposals([mask], PAPER, thing).parts) == 1) == kept


def test_thresholds_are_strict():
    hundred = crop_mask(square(0, 0, 10, 10), SIDE, SIDE)
    half = crop_mask(square(0, 0, 5, 10), SIDE, SIDE)
    other = crop_mask(square(100, 100, 10, 10), SIDE, SIDE)
    config = replace(PAPER, min_area=1, max_object_iou=0.5, max_proposal_iou=0.5)
    assert why_dropped(half, hundred, [], config) is None
    assert why_dropped(half, hundred, [], replace(config, max_object_iou=0.49)) == "equals_object"
    assert why_dropped(half, other, [hundred], config) is None
    assert why_dropped(half, other, [other, hundred], replace(config, max_proposal_iou=0.49)) == "duplicate"


def test_holes_are_filled_before_the_cut_and_components_chosen_after_it():
    # A ring around the object's hole: the hole is filled, then cut out again, because it is not the object's.
    thing = OBJECT & ~square(40, 40, 20, 20)
    ring = square(30, 30, 40, 40) & ~square(38, 38, 24, 24)
    (part,) = proposals([ring], thing=thing).parts
    np.testing.assert_array_equal(part.mask.full(), square(30, 30, 40, 40) & ~square(40, 40, 20, 20))
    # Two bars joined outside the object fall apart; the larger one stays.
    bars = square(90, 20, 25, 20) | square(80, 60, 35, 20) | square(110, 20, 5, 60)
    (part,) = proposals([bars]).parts
    np.testing.assert_array_equal(part.mask.full(), square(80, 60, 30, 20))


def test_complement_is_the_object_without_the_proposal():
    found = with_complements([square(10, 10, 100, 40)])
    (complement,) = found.complements
    np.testing.assert_array_equal(complement.mask.full(), square(10, 50, 100, 60))
    assert (complement.step, complement.clicks) == (found.parts[0].step, found.parts[0].clicks)


def test_complement_around_the_proposal_keeps_its_hole():
    part = square(40, 40, 40, 40)
    (complement,) = with_complements([part]).complements
    np.testing.assert_array_equal(complement.mask.full(), OBJECT & ~part)


def test_slivers_are_opened_away():
    block, sliver = square(10, 68, 10, 42), square(10, 108, 100, 2)
    (complement,) = with_complements([OBJECT & ~block & ~sliver]).complements
    np.testing.assert_array_equal(complement.mask.full(), block)
    (complement,) = with_complements([OBJECT & ~block & ~sliver], replace(PAPER, opening=1)).complements
    np.testing.assert_array_equal(complement.mask.full(), block | sliver)


def test_complements_have_their_reasons_too():
    left, right = square(10, 10, 100, 50), square(10, 60, 100, 50)
    corners = square(10, 10, 9, 9) | square(10, 101, 9, 9) | square(101, 10, 9, 9)
    edge = square(10, 10, 100, 2) | square(10, 108, 100, 2)
    found = with_complements([left, right, OBJECT & ~corners, OBJECT & ~edge])
    assert [part.step for part in found.parts] == [0, 1, 2, 3]
    assert found.complements == ()
    # The complement of each half is the other half; each corner has 81 pixels; the edges are thinner than the opening.
    assert reasons(found) == [
        (0, "complement", "duplicate"),
        (1, "complement", "duplicate"),
        (2, "complement", "small"),
        (3, "complement", "empty"),
    ]


def test_empty_complement_and_repeated_complement():
    config = replace(PAPER, max_object_iou=1.0)
    assert reasons(with_complements([OBJECT], config)) == [(0, "complement", "empty")]
    loose = replace(PAPER, max_proposal_iou=0.9, min_area=1)
    a, b = square(10, 10, 30, 30), square(10, 10, 30, 24)
    found = with_complements([a, b], loose)
    assert [part.step for part in found.parts] == [0, 1]
    assert reasons(found) == [(1, "complement", "duplicate")]


def test_a_dropped_proposal_has_no_complement():
    found = with_complements([np.zeros_like(OBJECT), square(10, 10, 5, 5)])
    assert found.parts == ()
    assert found.complements == ()
    assert {stage for _, stage, _ in reasons(found)} == {"postprocess"}


def smooth(generator, thing):
    noise = ndimage.gaussian_filter(generator.standard_normal(thing.shape), generator.uniform(2, 9))
    return noise > np.quantile(noise, generator.uniform(0.1, 0.9))


@pytest.mark.parametrize("seed", range(25))
def test_what_kept_masks_have_in_common(seed):
    generator = np.random.default_rng(seed)
    thing = ndimage.binary_fill_holes(smooth(generator, OBJECT)) & square(5, 5, 100, 110)
    found = with_complements([smooth(generator, thing) for _ in range(7)], PAPER, thing)
    masks = [part.mask for part in (*found.parts, *found.complements)]
    pixels = thing.sum()
    for mask in masks:
        frame = mask.full()
        assert not (frame & ~thing).any()
        assert frame.sum() >= min(400, 0.01 * pixels)
        assert ndimage.label(frame, np.ones((3, 3)))[1] == 1
        assert frame.sum() / pixels <= 0.98
    for number, mask in enumerate(masks):
        assert all(iou(mask, other) <= 0.95 for other in masks[:number])
    of_step = {part.step: part.mask for part in found.parts}
    for complement in found.complements:
        assert intersection(complement.mask, of_step[complement.step]) == 0
    steps = [part.step for part in found.parts]
    assert steps == sorted(steps)
    # Nothing gets lost: every candidate and every kept proposal's complement is kept or has a reason.
    rejected = [(reject.stage, reject.step) for reject in found.rejects]
    assert sorted(steps + [step for stage, step in rejected if stage == "postprocess"]) == list(range(7))
    complements = [part.step for part in found.complements]
    assert sorted(complements + [step for stage, step in rejected if stage == "complement"]) == steps


@settings(deadline=None, max_examples=80)
@given(arrays(np.bool_, (9, 9)), st.lists(arrays(np.bool_, (9, 9)), max_size=4))
def test_parts_stay_inside_any_object(thing, masks):
    thing[4, 4] = True
    config = replace(PAPER, min_area=1)
    found = add_complements(postprocess([loop_of(masks, thing)], config, 0, "toy"), config, 0, "toy")
    for part in (*found.parts, *found.complements):
        assert not (part.mask.full() & ~thing).any()
        assert area(part.mask) > 0
    assert len(found.parts) + sum(reject.stage == "postprocess" for reject in found.rejects) == len(masks)


BLOBS = [(10, 10, 40, 40), (10, 60, 40, 38), (60, 10, 30, 50), (60, 70, 30, 49), (100, 10, 15, 100)]


def test_released_component_is_a_random_one_of_the_large_ones():
    side = 130
    mask = np.zeros((side, side), bool)
    for blob in BLOBS:
        mask |= square(*blob, side=side)
    whole = crop_mask(mask, side, side)
    assert components(whole).areas == (1600, 1520, 1500, 1500, 1470)
    chosen = [area(one_component(whole, RELEASED, partial(float, draw))) for draw in np.linspace(0, 0.999, 50)]
    # 1500 is not above 1500.
    assert set(chosen) == {1600, 1520}
    assert 20 <= chosen.count(1600) <= 30
    assert area(one_component(whole, PAPER, partial(float, 0.999))) == 1600


def test_released_component_is_the_largest_where_none_is_large_and_the_only_one_where_it_is_alone():
    mask = square(10, 10, 20, 20) | square(10, 60, 20, 30)
    whole = crop_mask(mask, SIDE, SIDE)
    assert {area(one_component(whole, RELEASED, partial(float, draw))) for draw in (0.0, 0.5, 0.99)} == {600}
    alone = crop_mask(square(10, 10, 20, 20), SIDE, SIDE)
    assert one_component(alone, RELEASED, partial(float, 0.9)) is alone


@pytest.mark.parametrize("config", [PAPER, RELEASED])
def test_the_complement_is_one_of_the_possible_ones(config):
    thing, side = np.zeros((130, 130), bool), 130
    for blob in BLOBS:
        thing |= square(*blob, side=side)
    part = square(100, 10, 15, 20, side=side)
    possible = possible_complements(crop_mask(thing, side, side), crop_mask(part, side, side), config)
    made = []
    for seed in range(20):
        whole = ObjectProposals(loop_of([part], thing).target, (Proposal(0, (), crop_mask(part, side, side)),), (), ())
        made += add_complements(whole, config, seed, "toy").complements
    found, expected = ({each.full().tobytes() for each in masks} for masks in ([each.mask for each in made], possible))
    assert found == expected
    assert len(expected) == (1 if config is PAPER else 2)
    assert possible_complements(crop_mask(part, side, side), crop_mask(thing | part, side, side), config) == []


def test_released_choice_is_the_same_in_every_run_and_spreads_over_the_seeds():
    masks = [square(10, 10, 40, 45) | square(60, 10, 40, 40)]
    areas = [area(proposals(masks, RELEASED, seed=seed).parts[0].mask) for seed in range(40)]
    assert areas == [area(proposals(masks, RELEASED, seed=seed).parts[0].mask) for seed in range(40)]
    assert set(areas) == {1800, 1600}
    target = loop_of(masks).target
    draws = {
        component_draw(target, kind, step, seed, "toy")
        for kind in ("part", "complement")
        for step in (0, 1)
        for seed in (0, 1)
    }
    assert len(draws) == 8


def test_released_proposal_may_leave_the_object_and_keeps_its_holes():
    mask = square(0, 0, 60, 60) & ~square(20, 20, 5, 5)
    found = with_complements([mask], RELEASED)
    np.testing.assert_array_equal(found.parts[0].mask.full(), mask)
    expected = OBJECT & ~mask & ~square(20, 20, 5, 5)
    chosen = found.complements[0].mask.full()
    assert not (chosen & ~(OBJECT & ~mask)).any()
    np.testing.assert_array_equal(chosen, expected)


@pytest.mark.parametrize(("rows", "kept"), [(14, False), (15, True), (16, True), (5, False)])
def test_released_complements_of_a_rounded_scale_of_a_tenth_are_dropped(rows, kept):
    # 15 of 100 rows: ten times the scale is 1.5, half to even 2.
    found = with_complements([OBJECT & ~square(10, 10, rows, 100)], RELEASED)
    assert len(found.parts) == 1
    assert (len(found.complements) == 1) == kept
    assert reasons(found) == ([] if kept else [(0, "complement", "small")])


def test_released_keeps_repetitions_and_the_object_itself():
    found = proposals([OBJECT, OBJECT], RELEASED)
    assert len(found.parts) == 2
    assert found.rejects == ()
