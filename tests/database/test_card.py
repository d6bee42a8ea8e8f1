"""What the card of a database says of how its granularities were made."""

import pytest

from agg_pipeline.database.describing import describe
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.recomputing import recompute
from agg_pipeline.datasets.naming import Naming
from tests.toy_run import make_database

WAY = "lambda is {}; where peak_object is below 0.05, semantic is scale"


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """Makes databases of a name of the data and a lambda."""
    root = tmp_path_factory.mktemp("weighted")
    whole = open_proposals(make_database(root / "whole").url)

    def made(name, weight):
        folder = root / f"{name}-{weight}"
        return recompute(describe(whole, str(folder / "named"), Naming(name)), str(folder / "made"), weight)

    return made


def lines(databases, out):
    card = merge(databases, out).store.read("README.md").decode()
    return [line for line in card.splitlines() if "lambda is" in line]


def test_several_ways_of_the_same_data_name_their_sources(weighted, tmp_path):
    first, second, third = weighted("A", 0.5), weighted("A", 0.25), weighted("B", 0.25)
    assert lines([first, second, third], str(tmp_path / "three")) == [
        f"- A, val (source 0): {WAY.format(0.5)}",
        f"- A, val (source 1): {WAY.format(0.25)}",
        f"- B, val: {WAY.format(0.25)}",
    ]


def test_sources_of_one_way_are_one_line(weighted, tmp_path):
    described = describe(weighted("A", 0.5), str(tmp_path / "cited"), Naming(citation="Lee"))
    assert lines([weighted("A", 0.5), described], str(tmp_path / "two")) == [f"- A, val: {WAY.format(0.5)}"]
    assert lines([weighted("A", 0.5), weighted("A", 0.25), described], str(tmp_path / "three")) == [
        f"- A, val (sources 0, 2): {WAY.format(0.5)}",
        f"- A, val (source 1): {WAY.format(0.25)}",
    ]
