"""Clicks that are drawn around the centre of an error region, as people click."""

from collections import Counter

import numpy as np
import pytest

from schemas.config import ClicksConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.records import Click, Prediction
from stages.evaluate import Start, Subject, evaluate
from stages.next_click import next_click

HEIGHT, WIDTH = 12, 20


def masks():
    """A missing block of 5 x 7 pixels, and a smaller one of 3 x 3."""
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[2:7, 3:10] = True
    truth[8:11, 14:17] = True
    return np.zeros_like(truth), truth


def drawn(place, count=2000, clicks=()):
    predicted, truth = masks()
    draws = (np.arange(count) + 0.5) / count
    return Counter(next_click(predicted, truth, None, clicks, place, float(draw)) for draw in draws)


def test_the_centre_needs_no_draw():
    predicted, truth = masks()
    assert {next_click(predicted, truth, None, (), "centre", draw) for draw in (0.0, 0.7)} == {Click(4, 5, True)}


def test_uniform_clicks_meet_every_pixel_around_the_centre_alike():
    found = drawn("uniform")
    assert {(click.row, click.col) for click in found} == {(row, col) for row in range(2, 7) for col in range(3, 10)}
    assert all(click.positive for click in found)
    assert max(found.values()) - min(found.values()) <= 1


def test_clicks_by_depth_are_as_likely_as_their_pixel_is_deep():
    found = drawn("depth", 10_000)
    # Exact distances from the outside: 1 at the border of the block, 3 in its middle.
    edge, middle = found[Click(2, 6, True)], found[Click(4, 6, True)]
    assert middle == pytest.approx(3 * edge, rel=0.05)
    assert len(found) == 35


def test_the_first_and_the_last_draw_stay_in_the_region():
    predicted, truth = masks()
    for place in ("depth", "uniform"):
        assert next_click(predicted, truth, None, (), place, 0.0) == Click(2, 3, True)
        assert next_click(predicted, truth, None, (), place, np.nextafter(1.0, 0.0)) == Click(6, 9, True)


def test_clicked_and_ignored_pixels_are_not_clicked_again():
    earlier = Click(2, 3, True)
    assert earlier not in drawn("uniform", clicks=(earlier,))
    predicted, truth = masks()
    counted = np.ones_like(truth)
    counted[:, :8] = False
    clicks = {next_click(predicted, truth, counted, (), "uniform", draw / 50) for draw in range(50)}
    assert all(click.col >= 8 for click in clicks)


def test_surplus_pixels_are_clicked_as_negative():
    missing, truth = masks()
    found = next_click(truth, missing, None, (), "depth", 0.5)
    assert not found.positive and truth[found.row, found.col]


def test_interactions_take_a_draw_per_click():
    predicted, truth = masks()

    class Nothing:
        def predict(self, interactions):
            empty = Crop(HEIGHT, WIDTH, Box(0, 0, HEIGHT, WIDTH), np.zeros((HEIGHT, WIDTH), np.float32))
            return [Prediction(empty, empty.box) for _ in interactions]

    subject = Subject(np.zeros((HEIGHT, WIDTH, 3), np.uint8), crop_mask(truth, HEIGHT, WIDTH), 0.9)
    config = ClicksConfig(max_clicks=3, place="uniform")
    draws = (0.1, 0.6, 0.3)
    ((trace,),) = evaluate([subject], [[Start(draws=draws)]], Nothing(), config)
    expected = []
    for draw in draws:
        expected.append(next_click(predicted, truth, None, expected, "uniform", draw))
    assert [step.click for step in trace.steps] == expected
