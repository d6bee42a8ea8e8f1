"""A session predicts as an evaluation does, whatever was asked before, and what it keeps has a limit."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest

from agg_pipeline import load_model
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.inference.region_of_interest import next_roi
from agg_pipeline.inference.session import STATES_BYTES, Session
from schemas.config import ClicksConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.errors import UserError
from schemas.records import Prediction
from stages.evaluate import Start, Subject, counted_iou, evaluate

HEIGHT, WIDTH = 500, 700
WHOLE = Box(0, 0, HEIGHT, WIDTH)
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
CLICKS = [(100, 120, True), (40, 300, False), (200, 60, True), (150, 200, False), (110, 90, True)]


def disk(row, col, radius):
    rows, cols = np.ogrid[:HEIGHT, :WIDTH]
    return np.hypot(rows - row, cols - col) < radius


class Toy:
    """Disks around positive clicks, mixed with the mask prompt; nothing outside of the region of interest."""

    def __init__(self):
        self.predictions = 0

    def predict(self, interactions):
        self.predictions += len(interactions)
        return [self._one(state) for state in interactions]

    @staticmethod
    def _one(state):
        found = np.zeros((HEIGHT, WIDTH), np.float32)
        for number, click in enumerate(state.clicks):
            found[disk(click.row, click.col, 20 + 40 * (state.granularity or 0.5) + 5 * number)] = click.positive
        if state.prompt is not None:
            found = 0.6 * found + 0.4 * state.prompt.full()
        roi = next_roi(state)
        return Prediction(Crop(HEIGHT, WIDTH, roi, Crop(HEIGHT, WIDTH, WHOLE, found).window(roi)), roi)


class Recorder:
    """A model that remembers its interactions and probability maps."""

    def __init__(self, model):
        self.model = model
        self.states = []
        self.maps = []

    def predict(self, interactions):
        predictions = self.model.predict(interactions)
        self.states += interactions
        self.maps += [prediction.probability.full() for prediction in predictions]
        return predictions


def session(toy=None):
    return Session(IMAGE, toy or Toy(), has_granularity=True)


def evaluated(subject, model, granularity, clicks):
    """What an evaluation with so many clicks gave the model and got from it, its clicks and its IoUs."""
    recorder = Recorder(model)
    config = ClicksConfig(max_clicks=clicks, early_stop=False)
    ((trace,),) = evaluate([subject], [[Start(granularity)]], recorder, config)
    return recorder, [step.click for step in trace.steps], [step.iou for step in trace.steps]


def test_a_session_gives_the_maps_of_an_evaluation():
    truth = disk(90, 110, 60) | disk(400, 560, 70)
    subject = Subject(IMAGE, crop_mask(truth, HEIGHT, WIDTH), 1.0)
    recorder, clicks, _ = evaluated(subject, Toy(), 0.3, 8)
    own = session()
    for number, expected in enumerate(recorder.maps, start=1):
        assert np.array_equal(own.predict(clicks[:number], 0.3), expected)
    # The region of interest that is carried on decides some of these maps.
    assert any(next_roi(state) != next_roi(replace(state, roi=None)) for state in recorder.states)


@pytest.mark.parametrize("flip", [False, True])
def test_the_built_in_model_gives_the_numbers_of_an_evaluation(flip):
    dataset = open_dataset("demo", "", "val")
    record = dataset.read(dataset.entries[3])
    subject = Subject(record.pixels, record.objects[0].mask, 1.0)
    model = load_model(flip=flip)
    check_click_for_click(model, subject, 0.7, 6)


@pytest.mark.golden
def test_the_numbers_of_an_evaluation_on_a_photograph(shared):
    dataset = open_dataset("grabcut", str(shared / "data" / "grabcut-mini"), "all")
    record = dataset.read(dataset.entries[5])
    subject = Subject(record.pixels, record.objects[0].mask, 1.0, record.ignore)
    states = check_click_for_click(load_model(), subject, 1.0, 5)
    # It has zoomed in, and a region was kept that would have been another without the one before.
    assert states[3].roi != states[1].roi
    assert next_roi(states[4]) != next_roi(replace(states[4], roi=None))


def check_click_for_click(model, subject, granularity, clicks):
    """The session's maps are an evaluation's to the bit; the evaluation's interactions."""
    recorder, made, ious = evaluated(subject, model.open(subject.image)._model, granularity, clicks)
    own = model.open(subject.image)
    counted = None if subject.ignore is None else ~subject.ignore.full()
    for number, (expected, iou) in enumerate(zip(recorder.maps, ious, strict=True), start=1):
        found = own.predict(made[:number], granularity)
        assert np.array_equal(found, expected)
        assert counted_iou(found > 0.5, subject.truth.full(), counted) == iou
    return recorder.states


def test_a_prediction_does_not_depend_on_what_was_asked_before():
    rng = np.random.default_rng(0)
    own = session()
    for _ in range(12):
        order = rng.permutation(len(CLICKS))[: rng.integers(1, len(CLICKS) + 1)]
        clicks, granularity = [CLICKS[number] for number in order], float(rng.choice([0.2, 0.8]))
        assert np.array_equal(own.predict(clicks, granularity), session().predict(clicks, granularity))


def test_one_more_click_is_one_prediction_and_one_less_is_none():
    toy = Toy()
    own = session(toy)
    first = [own.predict(CLICKS[:number], 0.5) for number in range(1, 6)]
    assert toy.predictions == 5
    for number in (4, 5, 2, 1):
        assert np.array_equal(own.predict(CLICKS[:number], 0.5), first[number - 1])
    assert toy.predictions == 5
    own.predict([*CLICKS[:2], (300, 300, True)], 0.5)
    assert toy.predictions == 6, "the first two clicks stay"


def test_another_granularity_replays_the_clicks():
    toy = Toy()
    own = session(toy)
    own.predict(CLICKS, 0.5)
    own.predict(CLICKS, 0.9)
    assert toy.predictions == 10
    own.predict(CLICKS, None)
    assert toy.predictions == 15
    own.predict(CLICKS[:3], 0.5)
    assert toy.predictions == 15, "what was predicted is still there"


class Grey(Toy):
    """The same probability everywhere, which the clicks so far decide."""

    @staticmethod
    def _one(state):
        before = 0.0 if state.prompt is None else float(state.prompt.values[0, 0])
        level = (before + state.clicks[-1].row / HEIGHT) / 2
        return Prediction(Crop(HEIGHT, WIDTH, WHOLE, np.full((HEIGHT, WIDTH), level, np.float32)), WHOLE)


MANY = [(7 * number, number, True) for number in range(60)]
"""Clicks whose maps are more than a session keeps."""


def test_states_that_were_forgotten_are_made_again():
    assert len(MANY) * 4 * HEIGHT * WIDTH > 2 * STATES_BYTES
    toy = Grey()
    own = session(toy)
    last = own.predict(MANY, 0.5)
    assert toy.predictions == 60
    early = own.predict(MANY[:2], 0.5)
    assert toy.predictions == 62
    assert np.array_equal(early, session(Grey()).predict(MANY[:2], 0.5))
    assert np.array_equal(own.predict(MANY, 0.5), last)
    assert toy.predictions == 62


def test_memory_has_a_limit():
    own = session(Grey())
    tracemalloc.start()
    try:
        for number in range(1, len(MANY) + 1):
            own.predict(MANY[:number], 0.5)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < STATES_BYTES + (1 << 20)


def test_the_maps_and_the_image_are_the_sessions_own():
    model = load_model()
    buffer = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    own = model.open(buffer)
    expected = [model.open(buffer).predict(clicks) for clicks in ([(30, 40, True)], [(30, 40, True), (5, 5, False)])]
    buffer[:] = 0
    first = own.predict([(30, 40, True)])
    assert np.array_equal(first, expected[0])
    first[:] = 1
    assert np.array_equal(own.predict([(30, 40, True), (5, 5, False)]), expected[1])
    assert np.array_equal(own.predict([(30, 40, True)]), expected[0])


def test_threads_share_a_session():
    toy = Toy()
    own = session(toy)
    expected = [session().predict(CLICKS[:number], 0.5) for number in range(1, 6)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda turn: own.predict(CLICKS[: 1 + turn % 5], 0.5), range(20)))
    for turn, probability in enumerate(found):
        assert np.array_equal(probability, expected[turn % 5])
    assert toy.predictions == 5


@pytest.mark.parametrize(
    ("clicks", "granularity", "said"),
    [
        ([], None, "at least one click"),
        ([(HEIGHT, 1, True)], None, "outside of the image of 500x700"),
        ([(1, float("nan"), True)], None, "outside of the image"),
        ([(1, 1)], None, "two numbers and True or False"),
        ([(1, 1, 2)], None, "neither True nor False"),
        ([(10**400, 1, True)], None, "two numbers and True or False: int too large"),
        ([(1, 1, 10**5000)], None, "a number of thousands of digits is neither True nor False"),
        ([(1, 1, True)] * 1001, None, "there are more than 1,000 clicks on one mask"),
        (repeat((1, 1, True)), None, "there are more than 1,000 clicks on one mask"),
        (CLICKS, 1.5, r"the granularity is 1\.5; it must be a number in \[0, 1\]"),
        (CLICKS, "0.4\x1b", r"the granularity is '0\.4\\x1b'; it must be a number in"),
        pytest.param(CLICKS, 10**5000, "the granularity is a number of thousands of digits; it must", id="digits"),
    ],
)
def test_bad_input_leaves_the_session_as_it_was(clicks, granularity, said):
    toy = Toy()
    own = session(toy)
    own.predict(CLICKS[:1])
    with pytest.raises(UserError, match=said):
        own.predict(clicks, granularity)
    own.predict(CLICKS[:1])
    assert toy.predictions == 1


def test_granularity_needs_a_table():
    with pytest.raises(UserError, match="no granularity table"):
        Session(IMAGE, Toy(), has_granularity=False).predict(CLICKS, 0.5)


def test_an_image_of_another_type_is_refused():
    with pytest.raises(UserError, match="uint8"):
        load_model().open(IMAGE.astype(np.float32))
