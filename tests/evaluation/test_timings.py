"""Times and counts that files of a run may claim: what no run writes is not used, and divides nothing."""

import pytest

from agg_pipeline.evaluation.evaluation_tables import EVALUATION_LAYOUT
from agg_pipeline.evaluation.timings import read_timings
from agg_pipeline.storage.store import Store
from schemas.checked_json import JsonError, checked

TIMINGS = {"masks": 3, "seconds": 1.5, "latency": {"median": 0.1, "p95": 0.2, "clicks": 30}}


@pytest.fixture
def place(tmp_path):
    return Store(str(tmp_path))


def test_timings_are_read(place):
    place.write_json("timings.json", TIMINGS | {"images": 2})
    assert read_timings(place) == TIMINGS


@pytest.mark.parametrize("seconds", [0, 0.0, -1.0, 1e-320, 1e308])
def test_impossible_timings_are_passed_over(place, seconds):
    place.write_json("timings.json", TIMINGS | {"seconds": seconds})
    assert read_timings(place) is None


def test_an_impossible_latency_is_passed_over(place):
    place.write_json("timings.json", TIMINGS | {"latency": {"median": 1e308, "p95": 1e308, "clicks": 30}})
    assert read_timings(place) is None


def test_a_sidecar_does_not_name_a_level_without_masks():
    counts = {"masks": 0, "whole": True, "noc": {"object": {"target": 0.9, "masks": 0, "clicks": 0}}}
    with pytest.raises(JsonError, match="masks"):
        checked(counts, EVALUATION_LAYOUT.counts, "part-00000.json")
