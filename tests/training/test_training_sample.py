"""One sample: its crop, its clicks and its mask prompt."""

from dataclasses import replace

import numpy as np

from agg_pipeline.training.training_sample import DrawnMask, make_sample
from schemas.resolve import override
from schemas.training import AugmentConfig


def drawn(area):
    mask = np.zeros((100, 100), bool)
    mask[40 : 40 + area // 10, 20:30] = True
    return DrawnMask(np.zeros((100, 100, 3), np.uint8), mask, np.zeros_like(mask), mask, 5)


def test_crops_hold_the_mask_but_for_a_few():
    config = override(AugmentConfig(), {"size": 40, "min_area": 1})
    made = [make_sample(drawn(200), config, 0.8, np.random.default_rng(n)) for n in range(300)]
    empty = [sample for sample in made if not sample.target.any()]
    assert 0 < len(empty) < 60
    assert not any(click.positive for sample in empty for click in sample.clicks)
    never = override(config, {"keep_background": 0.0})
    assert all(make_sample(drawn(200), never, 0.8, np.random.default_rng(n)).target.any() for n in range(100))


def test_ignored_pixels_count_nowhere_and_hold_no_click():
    thing = drawn(400)
    ignored = np.zeros_like(thing.mask)
    ignored[:, 27:60] = True
    pixels = np.dstack([255 * each.astype(np.uint8) for each in (ignored, thing.mask, thing.mask)])
    plain = {"brightness_and_contrast": 0.0, "colour_shift": 0.0}
    config = override(AugmentConfig(), {"size": 60, "min_area": 1, "keep_background": 0.0} | plain)
    for number in range(40):
        sample = make_sample(replace(thing, pixels=pixels, ignored=ignored), config, 0.9, np.random.default_rng(number))
        red, green = sample.pixels[..., 0], sample.pixels[..., 1]
        assert (sample.target == 1).any()
        assert (sample.target[red == 255] == -1).all()
        assert (sample.target[red == 0] == (green[red == 0] > 127)).mean() > 0.95
        assert all(sample.target[click.row, click.col] == click.positive for click in sample.clicks)


def test_what_is_left_of_a_mask_may_be_too_small():
    config = override(AugmentConfig(), {"size": 100, "min_area": 80, "keep_background": 0.0, "min_scale": 1.0})
    assert not make_sample(drawn(30), config, 0.8, np.random.default_rng(0)).target.any()
    assert make_sample(drawn(200), config, 0.8, np.random.default_rng(0)).target.any()


def test_regions_lie_around_the_mask_as_often_as_is_said():
    whole = drawn(200)
    part = replace(whole, around=np.ones_like(whole.mask))
    settings = {"size": 64, "view": "zoom", "whole_image": 0.0, "min_side": 8, "shift_and_rotate": 0.0, "min_area": 1}

    def shares(on_mask):
        config = override(AugmentConfig(), settings | {"on_mask": on_mask})
        return np.array([make_sample(part, config, 0.8, np.random.default_rng(n)).target.mean() for n in range(60)])

    assert (shares(0.0) < 0.1).all(), "the mask is a fiftieth of its object"
    assert (shares(1.0) > 0.15).all()
    assert 15 < np.count_nonzero(shares(0.5) > 0.15) < 45
    assert AugmentConfig().on_mask == 0, "the paper's recipe knows no such region"


def test_some_samples_begin_with_a_prompt_of_all_objects():
    whole = drawn(300)
    with_others = replace(whole, others=np.roll(whole.mask, 10, axis=1))
    config = override(AugmentConfig(), {"size": 100, "min_area": 1, "keep_background": 0.0})

    def made(of, parted):
        return [make_sample(of, config, 0.8, np.random.default_rng(n), parted=parted) for n in range(60)]

    samples = made(with_others, 0.5)
    prompted = [sample for sample in samples if sample.prompt.any()]
    assert 10 < len(prompted) < 50
    for sample in prompted:
        assert (sample.prompt | (sample.target == 0)).all(), "the mask is in the prompt"
        assert sample.prompt.sum() > sample.target.sum()
        assert any(not click.positive and sample.prompt[click.row, click.col] for click in sample.clicks)
    assert not any(sample.prompt.any() for sample in (*made(with_others, 0.0), *made(whole, 1.0)))
