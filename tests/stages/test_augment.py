"""Augmentation: what the random maps do to images and masks."""

import numpy as np
import pytest

from schemas.crop import Box
from schemas.resolve import override
from schemas.training import AugmentConfig
from stages.augment import change_colours, draw_map, warp_mask, warp_pixels

PLAIN = {"flip": 0.0, "turn_90": 0.0, "shift_and_rotate": 0.0}
FOCUS = Box(20, 30, 20, 30)


def config(**changes):
    return override(AugmentConfig(), {"size": 64, **changes})


def rng(seed=0):
    return np.random.default_rng(seed)


def image(height=80, width=100):
    rows, cols = np.indices((height, width))
    return np.stack([rows * 2, cols * 2, (rows + cols) % 256], axis=2).astype(np.uint8)


def test_crop_without_changes_is_a_piece_of_the_image():
    pixels = image()
    matrix = draw_map(80, 100, FOCUS, config(min_scale=1.0, max_scale=1.0, **PLAIN), rng())
    matrix = np.round(matrix)
    left, top = -matrix[0, 2], -matrix[1, 2]
    assert 0 <= left <= 36
    assert 0 <= top <= 16
    piece = pixels[int(top) : int(top) + 64, int(left) : int(left) + 64]
    assert np.array_equal(warp_pixels(pixels, matrix, 64), piece)


def test_crops_of_a_large_image_reach_every_place():
    places = [
        draw_map(300, 300, FOCUS, config(min_scale=1.0, max_scale=1.0, **PLAIN), rng(n))[:, 2] for n in range(400)
    ]
    low, high = np.min(places, axis=0), np.max(places, axis=0)
    assert np.all(low < -230)
    assert np.all(high > -6)
    assert np.all((low >= -236.5) & (high <= 0.5))


def test_a_small_image_is_padded_all_around():
    matrix = draw_map(20, 30, FOCUS, config(min_scale=1.0, max_scale=1.0, **PLAIN), rng())
    mask = warp_mask(np.ones((20, 30), bool), np.round(matrix), 64)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (len(rows), len(cols)) == (20, 30)
    assert abs(rows[0] - (63 - rows[-1])) <= 1
    assert abs(cols[0] - (63 - cols[-1])) <= 1


@pytest.mark.parametrize("seed", range(6))
def test_scale_flip_and_turn_keep_the_area(seed):
    mask = np.zeros((60, 60), bool)
    mask[15:40, 20:38] = True
    matrix = draw_map(60, 60, FOCUS, config(size=128, shift_and_rotate=0.0), rng(seed))
    linear = matrix[:, :2]
    scale = abs(np.linalg.det(linear)) ** 0.5
    assert 0.75 <= scale <= 1.25
    assert np.count_nonzero(np.abs(linear) > 1e-9) == 2, "only flips and quarter turns"
    area = np.count_nonzero(warp_mask(mask, matrix, 128))
    assert area == pytest.approx(mask.sum() * scale**2, rel=0.12)


def test_probabilities_of_flips_and_turns():
    flipped = turned = 0
    for seed in range(1500):
        linear = draw_map(60, 60, FOCUS, config(min_scale=1.0, max_scale=1.0, shift_and_rotate=0.0), rng(seed))[:, :2]
        flipped += np.linalg.det(linear) < 0
        turned += abs(linear[0, 0]) < 0.5
    # Half are flipped, of these two thirds in one direction only; half are turned, of these half by an odd quarter.
    assert flipped / 1500 == pytest.approx(1 / 3, abs=0.04)
    assert turned / 1500 == pytest.approx(1 / 4, abs=0.04)


def test_image_and_mask_are_moved_alike():
    pixels = np.zeros((80, 100, 3), np.uint8)
    mask = np.zeros((80, 100), bool)
    pixels[25:55, 30:70] = 255
    mask[25:55, 30:70] = True
    for seed in range(20):
        matrix = draw_map(80, 100, FOCUS, config(), rng(seed))
        seen = warp_pixels(pixels, matrix, 64)[..., 0] > 127
        moved = warp_mask(mask, matrix, 64)
        assert np.count_nonzero(seen ^ moved) <= 0.06 * max(50, np.count_nonzero(moved))


def test_zoom_squeezes_the_whole_image_into_the_crop():
    matrix = draw_map(80, 160, FOCUS, config(view="zoom", whole_image=1.0, **PLAIN), rng())
    assert matrix[0, 0] == pytest.approx(64 / 160)
    assert matrix[1, 1] == pytest.approx(64 / 80)
    whole = warp_mask(np.ones((80, 160), bool), matrix, 64)
    assert whole.mean() > 0.95


def test_zoom_looks_around_the_object():
    mask = np.zeros((400, 400), bool)
    mask[100:200, 150:220] = True
    shares = []
    for seed in range(50):
        matrix = draw_map(400, 400, Box(100, 150, 100, 70), config(view="zoom", whole_image=0.0, **PLAIN), rng(seed))
        seen = warp_mask(mask, matrix, 64)
        shares.append(seen.mean())
    assert min(shares) > 0.1
    assert max(shares) > 0.5


def test_colours_change_within_their_limits():
    grey = np.full((4, 4, 3), 100, np.uint8)
    still = config(brightness_and_contrast=0.0, colour_shift=0.0)
    assert np.array_equal(change_colours(grey, still, rng()), grey)
    shifted = [
        change_colours(grey, config(brightness_and_contrast=0.0), rng(n))[0, 0].astype(int) - 100 for n in range(200)
    ]
    assert np.abs(shifted).max() == 10
    assert len({tuple(shift) for shift in shifted}) > 100
    bright = [int(change_colours(grey, config(colour_shift=0.0), rng(n))[0, 0, 0]) for n in range(400)]
    assert min(bright) >= 0.85 * 100 - 0.25 * 255 - 1
    assert max(bright) <= 1.4 * 100 + 0.25 * 255 + 1
    assert np.mean([value == 100 for value in bright]) == pytest.approx(0.25, abs=0.06)


def test_maps_depend_on_the_generator_alone():
    first, second = (draw_map(80, 100, FOCUS, config(), rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, draw_map(80, 100, FOCUS, config(), rng(4)))
