"""Methods without weights: what they find in pictures whose answer is known."""

import numpy as np
import pytest

from agg_pipeline.models.classical import BACKGROUND, FOREGROUND, RADIUS, UNKNOWN, marked
from agg_pipeline.models.other_models import make_model, named_model
from schemas.crop import Box, Crop
from schemas.errors import UserError
from schemas.records import Click, Interaction

NAMES = ("geodesic", "grabcut", "random-walker")


def scene(height=96, width=128, seed=0):
    """A reddish disk on a bluish ground, with noise; the image and the disk."""
    rows, cols = np.mgrid[:height, :width]
    disk = (rows - 0.5 * height) ** 2 + (cols - 0.4 * width) ** 2 < (0.28 * height) ** 2
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    colours = np.where(disk[..., None], (190, 70, 60), (60, 90, 180))
    return np.clip(colours + noise, 0, 255).astype(np.uint8), disk


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def predicted(name, image, *clicks, prompt=None):
    model = make_model(named_model(name), "cpu")
    (found,) = model.predict([Interaction(image, clicks, prompt=prompt, focus=None)])
    assert found.shape == image.shape[:2] and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    return found


@pytest.mark.parametrize("name", NAMES)
def test_one_click_finds_a_disk_of_another_colour(name):
    image, disk = scene()
    assert iou(predicted(name, image, Click(48, 51, True)) > 0.5, disk) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_negative_click_takes_away_what_it_marks(name):
    image, disk = scene()
    image[:, 64:][disk[:, 64:]] = (90, 150, 60)
    right = disk & (np.arange(128) >= 64)
    found = predicted(name, image, Click(48, 40, True), Click(48, 70, False)) > 0.5
    assert found[48, 40] and not found[48, 70]
    assert (found & right).sum() < 0.2 * right.sum()


@pytest.mark.parametrize("name", NAMES)
def test_large_images_are_seen_smaller_and_answered_whole(name):
    image, disk = scene(480, 640)
    assert iou(predicted(f"{name}:side=160", image, Click(240, 256, True)) > 0.5, disk) > 0.9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 200)])
def test_tiny_images_have_an_answer(name, size):
    predicted(name, np.zeros((*size, 3), np.uint8), Click(0, 0, True))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_every_time(name):
    image, _ = scene(seed=3)
    clicks = Click(48, 51, True), Click(5, 100, False)
    first = predicted(name, image, *clicks)
    assert np.array_equal(first, predicted(name, image.copy(), *clicks))


def test_grabcut_starts_from_the_last_mask():
    image, disk = scene()
    # Two disks of one colour: the last mask says which one is meant.
    both = image.copy()
    both[5:25, 100:120] = (190, 70, 60)
    last = Crop(96, 128, Box(0, 0, 96, 128), disk.astype(np.float32))
    found = predicted("grabcut", both, Click(48, 51, True), prompt=last) > 0.5
    assert iou(found & ~disk, np.ones_like(disk)) < 0.05


def test_clicks_mark_disks_and_the_border_is_background():
    marks = marked([Click(20, 30, True), Click(40, 60, False)], 0.5, 0.5, 40, 50)
    assert marks[10, 15] == FOREGROUND and marks[10, 15 + RADIUS] == FOREGROUND
    assert marks[10, 15 + RADIUS + 1] == UNKNOWN
    assert marks[20, 30] == BACKGROUND
    assert (marks[0] == BACKGROUND).all() and (marks[:, -1] == BACKGROUND).all()
    # A positive click at the border is sure, too.
    assert marked([Click(0, 30, True)], 0.5, 0.5, 40, 50)[0, 15] == FOREGROUND


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("geodesic:side=big", "side=big is not a number from 0 to 8192"),
        ("geodesic:side=nan", "side=nan is not a number"),
        ("random-walker:beta=0", "beta=0 is not a number from 0.001"),
        ("grabcut:iterations=0", "iterations=0 is not a number from 1 to 100"),
        ("grabcut:beta=3", "model grabcut has no argument beta; possible: iterations, side"),
        ("geodesic:sied=3", "did you mean 'side'"),
    ],
)
def test_arguments_that_cannot_be_used(text, problem):
    with pytest.raises(UserError, match=problem):
        named_model(text)
