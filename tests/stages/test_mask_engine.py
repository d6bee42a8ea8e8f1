"""The loop simulation with click models made of numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest

from schemas.config import LoopConfig
from schemas.crop import Box, Crop, area, crop_mask
from schemas.presets import PRESETS
from schemas.records import Click, ImageSummary, ObjectMask, Prediction, Target
from stages.mask_engine import loop_length, random_click, simulate

PAPER, RELEASED = PRESETS["paper"].loop, PRESETS["released"].loop
HEIGHT, WIDTH = 60, 80


def frame_of(top, left, height, width):
    frame = np.zeros((HEIGHT, WIDTH), bool)
    frame[top : top + height, left : left + width] = True
    return frame


def target_of(frame, number=0):
    thing = ObjectMask(number, "thing", crop_mask(frame, *frame.shape))
    return Target(ImageSummary(f"image{number}", "x.jpg", HEIGHT, WIDTH, "", ""), thing)


def pixels_of(target):
    """An image that carries the object's number, so that a toy model can tell interactions apart."""
    return np.full((HEIGHT, WIDTH, 3), target.object.instance_id, np.uint8)


PIXELS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


class Eraser:
    """Cuts a square around the last negative click out of the prompt."""

    def __init__(self, reach=9):
        self.reach = reach
        self.calls = []

    def predict(self, interactions):
        self.calls.append(list(interactions))
        return [self._one(interaction) for interaction in interactions]

    def _one(self, interaction):
        probability = interaction.prompt.full().astype(np.float32) * np.float32(0.9)
        last = interaction.clicks[-1]
        if not last.positive:
            rows, cols = slice(max(0, last.row - self.reach), None), slice(max(0, last.col - self.reach), None)
            probability[rows, cols][: 2 * self.reach, : 2 * self.reach] = 0.1
        height, width = probability.shape
        # The returned region counts the predictions, to show that it is passed on.
        age = 0 if interaction.roi is None else interaction.roi.top + 1
        return Prediction(Crop(height, width, Box(0, 0, height, width), probability), Box(age, 0, 1, 1))


class Script:
    """Returns the next of an object's scripted masks; the image's pixels are the object's number."""

    def __init__(self, masks):
        self.masks = {number: list(frames) for number, frames in masks.items()}
        self.calls = []

    def predict(self, interactions):
        self.calls.append(list(interactions))
        predictions = []
        for interaction in interactions:
            values = self.masks[int(interaction.image[0, 0, 0])].pop(0).astype(np.float32)
            box = Box(0, 0, *values.shape)
            predictions.append(Prediction(Crop(*values.shape, box, values), box))
        return predictions


def run(targets, lengths, model, config, seed=0):
    pixels = [pixels_of(target) for target in targets]
    return simulate(targets, pixels, lengths, model, config, random_click(seed, "toy", config))


FULL = frame_of(5, 5, 50, 60)
EMPTY = np.zeros_like(FULL)


def test_all_steps_are_candidates_and_the_inputs_follow_the_equations():
    target, model = target_of(FULL), Eraser()
    (loop,) = simulate([target], [PIXELS], [3], model, PAPER, random_click(0, "toy", PAPER))
    assert [candidate.step for candidate in loop.candidates] == [0, 1, 2, 3]
    assert loop.ended is None
    assert len(model.calls) == 4
    first = model.calls[0][0]
    assert first.prompt is target.object.mask
    assert first.focus is None
    assert first.roi is None
    assert first.image is PIXELS
    for step, (call,) in enumerate(model.calls):
        assert len(call.clicks) == step + 1
        assert call.clicks == loop.candidates[step].clicks
        assert call.granularity is None
    for step in (1, 2, 3):
        call = model.calls[step][0]
        assert call.prompt.values.dtype == np.float32
        np.testing.assert_array_equal(call.focus.full(), call.prompt.full() > 0.5)
        np.testing.assert_array_equal(call.prompt.full() > 0.5, loop.candidates[step - 1].mask.full())
        assert call.roi.top == step - 1


def test_with_zoom_the_first_region_follows_the_object():
    target, model = target_of(FULL), Eraser()
    run([target], [1], model, replace(PAPER, zoom=True))
    first, second = (call[0] for call in model.calls)
    assert first.focus is target.object.mask
    np.testing.assert_array_equal(second.focus.full(), second.prompt.full() > 0.5)


@pytest.mark.parametrize("config", [PAPER, RELEASED], ids=["paper", "released"])
def test_clicks_lie_in_the_current_mask_and_are_negative_after_the_first(config):
    for seed in range(10):
        loop = run([target_of(FULL)], [config.max_negatives], Eraser(6), replace(config, keep="all"), seed)[0]
        for step, click in enumerate(loop.candidates[-1].clicks):
            current = FULL if step == 0 else loop.candidates[step - 1].mask.full()
            assert current[click.row, click.col]
            assert click.positive == (step == 0)
        assert len(loop.candidates[-1].clicks) == len(loop.candidates)


def test_clicks_keep_their_distance():
    config = replace(PAPER, min_distance=0.3)
    closest = 0.3 * math.hypot(50, 60)
    for seed in range(20):
        clicks = run([target_of(FULL)], [4], Eraser(2), config, seed)[0].candidates[-1].clicks
        for number, a in enumerate(clicks):
            assert all(math.hypot(a.row - b.row, a.col - b.col) >= closest for b in clicks[:number])
    # Without the check some of these are nearer, so that the test can fail.
    near = [run([target_of(FULL)], [4], Eraser(2), RELEASED, seed)[0].candidates[-1].clicks for seed in range(20)]
    assert any(math.hypot(a.row - b.row, a.col - b.col) < closest for c in near for a in c for b in c if a is not b)


def test_clicks_reach_every_pixel_of_the_mask():
    config = replace(PAPER, min_distance=0.0)
    target = target_of(frame_of(10, 20, 2, 3))
    seen = set()
    for seed in range(200):
        seen.add(random_click(seed, "toy", config)(target, PIXELS, 1, target.object.mask, ())[:2])
    assert seen == {(row, col) for row in (10, 11) for col in (20, 21, 22)}


def test_loops_end_at_different_steps():
    targets = [target_of(FULL, 0), target_of(FULL, 1), target_of(FULL, 2)]
    model = Script({0: [FULL] * 5, 1: [FULL, EMPTY], 2: [FULL] * 2})
    loops = run(targets, [4, 4, 1], model, PAPER)
    assert [[interaction.image[0, 0, 0] for interaction in call] for call in model.calls] == [
        [0, 1, 2],
        [0, 1, 2],
        [0],
        [0],
        [0],
    ]
    assert [len(loop.candidates) for loop in loops] == [5, 2, 2]
    assert [(loop.ended, loop.ended_step) for loop in loops] == [(None, 0), ("empty", 1), (None, 0)]
    assert [loop.target for loop in loops] == targets


def test_an_empty_mask_ends_the_loop_and_stays_a_candidate():
    model = Script({0: [EMPTY]})
    (loop,) = run([target_of(FULL)], [3], model, PAPER)
    assert (loop.ended, loop.ended_step) == ("empty", 0)
    assert [area(candidate.mask) for candidate in loop.candidates] == [0]
    assert len(model.calls) == 1


def test_no_click_ends_the_loop_of_a_tiny_object():
    tiny = frame_of(10, 10, 3, 3)
    model = Script({0: [tiny] * 9})
    (loop,) = run([target_of(tiny)], [3], model, replace(PAPER, min_distance=1.0))
    assert (loop.ended, loop.ended_step) == ("no_click", 1)
    assert len(loop.candidates) == 1
    assert len(model.calls) == 1


def test_contrast_puts_negative_clicks_on_other_colours():
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, :40], pixels[:, 40:] = (200, 30, 30), (30, 30, 200)
    target = target_of(FULL)
    first = (Click(30, 20, True),)

    def share(contrast):
        draw = random_click(0, "toy", replace(PAPER, contrast=contrast))
        clicks = [draw(target, pixels, step, target.object.mask, first) for step in range(100)]
        assert all(math.hypot(click.row - 30, click.col - 20) >= 0.05 * math.hypot(50, 60) for click in clicks)
        assert not any(click.positive for click in clicks)
        return sum(click.col >= 40 for click in clicks) / len(clicks)

    assert 0.25 < share(1) < 0.6
    assert share(8) > 0.95


def test_number_of_draws_is_limited():
    # One pixel in a hundred is far enough; a single draw rarely finds it, many draws do.
    target = target_of(frame_of(0, 0, 1, 80))
    clicks = (Click(0, 0, True),)
    config = LoopConfig(min_distance=0.98)
    few = [
        random_click(seed, "toy", replace(config, max_draws=1))(target, PIXELS, 1, target.object.mask, clicks)
        for seed in range(50)
    ]
    many = [
        random_click(seed, "toy", replace(config, max_draws=500))(target, PIXELS, 1, target.object.mask, clicks)
        for seed in range(50)
    ]
    assert sum(click is None for click in few) > 40
    assert all(click is not None and click.col >= 78 for click in many)


def test_released_loop_forwards_without_a_click_below_400_pixels_and_clicks_again_later():
    small, large = frame_of(20, 20, 19, 21), frame_of(20, 20, 20, 20)
    assert (small.sum(), large.sum()) == (399, 400)
    model = Script({0: [FULL, small, EMPTY, large, FULL]})
    (loop,) = run([target_of(FULL)], [4], model, replace(RELEASED, keep="all"))
    assert [len(call[0].clicks) for call in model.calls] == [1, 2, 2, 2, 3]
    assert loop.ended is None
    assert [candidate.step for candidate in loop.candidates] == [0, 1, 2, 3, 4]
    last = loop.candidates[-1].clicks[-1]
    assert large[last.row, last.col]
    assert not last.positive


def test_released_loop_keeps_only_the_last_mask_and_starts_from_the_whole_image():
    target, model = target_of(FULL), Eraser(6)
    (loop,) = run([target], [3], model, RELEASED)
    assert [candidate.step for candidate in loop.candidates] == [3]
    assert len(loop.candidates[0].clicks) == 4
    assert model.calls[0][0].focus is None
    assert model.calls[0][0].prompt is target.object.mask
    assert model.calls[1][0].focus is not None


def test_an_early_end_keeps_the_last_mask_of_the_release_too():
    model = Script({0: [FULL, EMPTY]})
    (loop,) = run([target_of(FULL)], [3], model, replace(PAPER, keep="last"))
    assert [candidate.step for candidate in loop.candidates] == [1]


def signature(loop):
    return loop.ended, loop.ended_step, [(c.step, c.clicks, c.mask.full().tobytes()) for c in loop.candidates]


@pytest.mark.parametrize("config", [PAPER, RELEASED], ids=["paper", "released"])
def test_the_other_objects_of_a_batch_change_nothing(config):
    targets = [
        target_of(frame_of(5, 5, 50, 60), 0),
        target_of(frame_of(0, 0, 8, 9), 1),
        target_of(frame_of(30, 2, 25, 70), 2),
    ]
    lengths = [5, 3, 2]
    together = run(targets, lengths, Eraser(), config)
    alone = [run([target], [length], Eraser(), config)[0] for target, length in zip(targets, lengths, strict=True)]
    assert [signature(loop) for loop in together] == [signature(loop) for loop in alone]
    backwards = run(targets[::-1], lengths[::-1], Eraser(), config)[::-1]
    assert [signature(loop) for loop in backwards] == [signature(loop) for loop in alone]


def test_the_model_is_called_at_most_once_a_step_and_never_for_nothing():
    targets = [target_of(FULL, number) for number in range(3)]
    model = Script({number: [FULL, EMPTY] for number in range(3)})
    run(targets, [6, 6, 6], model, PAPER)
    assert [len(call) for call in model.calls] == [3, 3]


def test_rounds_of_an_object_count_their_steps_on_and_click_elsewhere():
    target, config = target_of(FULL), replace(PAPER, rounds=2)
    first, second = simulate(
        [target] * 2, [PIXELS] * 2, [3, 2], Eraser(), config, random_click(0, "toy", config), [0, 1]
    )
    assert [candidate.step for candidate in first.candidates] == [0, 1, 2, 3]
    assert [candidate.step for candidate in second.candidates] == [7, 8, 9]
    assert not {*first.candidates[-1].clicks} & {*second.candidates[-1].clicks}
    assert [click.positive for click in second.candidates[-1].clicks] == [True, False, False]
    alone = run([target], [3], Eraser(), PAPER)[0]
    assert signature(first) == signature(alone), "more rounds change nothing of the first one"
    gone = Script({0: [EMPTY]})
    (ended,) = simulate([target], [PIXELS], [3], gone, config, random_click(0, "toy", config), [1])
    assert (ended.ended, ended.ended_step) == ("empty", 7)


def test_every_round_has_a_length_of_its_own():
    lengths = [loop_length(0, "toy", target_of(FULL), PAPER, round_) for round_ in range(40)]
    assert set(lengths) == {3, 4, 5, 6}


def test_nothing_to_do_calls_no_model():
    assert run([], [], None, PAPER) == []


def test_other_seeds_give_other_clicks():
    first, second = (run([target_of(FULL)], [2], Eraser(), PAPER, seed)[0] for seed in (0, 1))
    assert first.candidates[-1].clicks != second.candidates[-1].clicks


@pytest.mark.parametrize(("config", "expected"), [(PAPER, {3, 4, 5, 6}), (RELEASED, {2, 3, 4})])
def test_loop_length_covers_its_range_evenly(config, expected):
    lengths = [loop_length(seed, "toy", target_of(FULL), config) for seed in range(400)]
    counts = {length: lengths.count(length) for length in set(lengths)}
    assert set(counts) == expected
    assert min(counts.values()) > 0.6 * 400 / len(expected)
    assert lengths == [loop_length(seed, "toy", target_of(FULL), config) for seed in range(400)]


def test_loop_length_of_one_value_is_that_value():
    config = LoopConfig(min_negatives=0, max_negatives=0)
    assert loop_length(0, "toy", target_of(FULL), config) == 0
    (loop,) = run([target_of(FULL)], [0], Script({0: [FULL]}), config)
    assert [candidate.step for candidate in loop.candidates] == [0]
