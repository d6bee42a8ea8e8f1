"""Other models as click models for stages."""

import numpy as np
import pytest

from agg_pipeline.inference.whole_images import WholeImagePredictor
from agg_pipeline.models.other_models import MapAndRegion, ModelFacts
from schemas.crop import Box
from schemas.errors import UserError
from schemas.records import Click, Interaction

IMAGE = np.zeros((8, 6, 3), np.uint8)


class Fixed:
    """A model that gives the same maps to everybody."""

    facts = ModelFacts("fixed", parameters=7)

    def __init__(self, *maps):
        self.maps = maps

    def predict(self, _interactions):
        return self.maps


class Failing(Fixed):
    """A model with a mistake."""

    def predict(self, _interactions):
        raise self.maps[0]


def interaction(wanted=None):
    return Interaction(IMAGE, (Click(1, 1, True),), prompt=None, focus=None, wanted=wanted)


def test_maps_are_predictions_over_the_whole_image():
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(8, 6)
    model = WholeImagePredictor(Fixed(values), "fixed")
    (found,) = model.predict([interaction()])
    assert np.array_equal(found.probability.full(), values)
    assert found.roi == Box(0, 0, 8, 6)
    assert model.forward_seconds > 0 and model.splits == 0 and model.parameters == 7


@pytest.mark.parametrize("region", [None, Box(1, 2, 3, 4)])
def test_the_region_of_a_model_that_zooms_in_is_passed_on(region):
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(8, 6)
    (found,) = WholeImagePredictor(Fixed(MapAndRegion(values, region)), "fixed").predict([interaction()])
    assert np.array_equal(found.probability.full(), values)
    assert found.roi == region


def test_only_what_is_wanted_is_kept():
    values = np.full((8, 6), 0.25, np.float32)
    (found,) = WholeImagePredictor(Fixed(values), "fixed").predict([interaction(Box(2, 1, 3, 4))])
    expected = np.zeros((8, 6), np.float32)
    expected[2:5, 1:5] = 0.25
    assert np.array_equal(found.probability.full(), expected)


@pytest.mark.parametrize(
    ("maps", "problem"),
    [
        ([], "gave 0 maps for 1 images"),
        ([np.zeros((6, 8), np.float32)], "gave a map of 6 x 8 float32 for an image of 8 x 6"),
        ([np.zeros((8, 6))], "gave a map of 8 x 6 float64"),
        ([np.full((8, 6), 1.5, np.float32)], "gave values outside"),
        ([np.full((8, 6), np.nan, np.float32)], "gave values outside"),
    ],
)
def test_models_that_answer_with_something_else(maps, problem):
    with pytest.raises(UserError, match=f"model fixed:a {problem}"):
        WholeImagePredictor(Fixed(*maps), "fixed:a").predict([interaction()])


def test_a_mistake_in_a_model_is_one_line_and_a_traceback_in_the_log(caplog):
    with pytest.raises(UserError, match=r"model other failed: ZeroDivisionError: by \\x1b zero"):
        WholeImagePredictor(Failing(ZeroDivisionError("by \x1b zero")), "other").predict([interaction()])
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [UserError("its own line"), MemoryError()])
def test_what_a_model_says_itself_and_lacking_memory_are_let_through(error):
    with pytest.raises(type(error)):
        WholeImagePredictor(Failing(error), "other").predict([interaction()])


def test_several_candidates_are_maps_of_one_prediction():
    values = np.linspace(0, 1, 144, dtype=np.float32).reshape(3, 8, 6)
    several = Fixed(values)
    several.facts = ModelFacts("several", candidates=3)
    model = WholeImagePredictor(several, "several")
    (found,) = model.predict([interaction(Box(2, 1, 3, 4))])
    maps = found.probability, *found.others
    expected = np.zeros_like(values)
    expected[:, 2:5, 1:5] = values[:, 2:5, 1:5]
    assert np.array_equal([each.full() for each in maps], expected)
    several.maps = (values[0],)
    with pytest.raises(UserError, match="maps must be float32 and have the image's size, 3 of them"):
        model.predict([interaction()])
