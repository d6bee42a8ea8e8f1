"""The splits of the built-in set, and the scenes that its paths name."""

import pytest

from agg_pipeline.datasets.generated import MAX_SCENES, read_pixels
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError, UserError


@pytest.mark.parametrize(("split", "scenes"), [("3", 3), ("003", 3), ("0" * 5000 + "2", 2), ("val", 24)])
def test_split_is_a_name_or_a_number_of_scenes(split, scenes):
    assert len(open_dataset("demo", "", split).entries) == scenes


@pytest.mark.parametrize("split", ["0", str(MAX_SCENES + 1), "9" * 5000, "-1", "1_0", "\u0661", "\u00b2"])
def test_other_numbers_are_no_split(split):
    with pytest.raises(
        UserError, match=r"^unknown split '.{1,199}.* of demo; possible: train, val, large, or a number"
    ):
        open_dataset("demo", "", split)


@pytest.mark.parametrize("number", ["", "x", "-1", "9" * 5000, "\u0661"])
def test_path_of_no_scene(number):
    with pytest.raises(ImageError, match="is not a scene of the demo set"):
        read_pixels(Store(""), f"demo/{number}.png")
