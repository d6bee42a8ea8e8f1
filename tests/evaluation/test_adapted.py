"""``agg eval adapted``: which evaluations it makes and what it compares, with evaluations that are written by hand."""

from dataclasses import asdict, replace

import pyarrow.compute as pc
import pytest

from agg_pipeline import sharded
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.evaluation.adapted import ARMS, TABLES, evaluate_adapted
from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.storage import Store
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.resolve import override
from tests.evaluation.conftest import make_plan, make_run, make_tables

CLICKS = {
    "base": (12, 18),
    "best-of-10": (11, 15),
    "optimal": (9, 6),
    "by-class": (20, 8),
    "whole": (10, 20),
}
"""Clicks that each evaluation needs for an object and for a part."""


def run_of(clicks, target, granularity, chosen=True):
    return make_run([0.1] * (clicks - 1) + [target + 0.01], granularity, chosen)


def runs_of(clicks, target, granularity, optimal):
    if not optimal:
        return [run_of(clicks, target, granularity)]
    return [run_of(clicks + (g != 4), target, g / 10, g == 4) for g in range(1, 11)]


def curves():
    """A head is found best at 0.3, an ear at 0.1."""
    masks = []
    for kind, best in (("head", 0.3), ("ear", 0.1)):
        runs = [run_of(2 if g / 10 == best else 5, 0.85, g / 10, g / 10 == best) for g in range(1, 11)]
        masks.append(("a", "part", kind, 300, runs))
    return make_tables(masks)


class Evaluator:
    """Writes results into the folder as an evaluation would, and remembers what it was asked for."""

    def __init__(self):
        self.asked = {}

    def __call__(self, dataset, adapted, config, folder):
        name = folder.rpartition("/")[2]
        self.asked[name] = (dataset, adapted, config)
        if name == "curves":
            tables = curves()
        else:
            granularity = {"by-class": 0.3, "whole": 1.0}.get(name)
            object_, part = CLICKS[name]
            tables = make_tables(
                [
                    ("a", "object", "cat", 300, runs_of(object_, 0.9, granularity, name == "optimal")),
                    ("a", "part", "head", 300, runs_of(part, 0.85, granularity, name == "optimal")),
                ]
            )
            if config.level != "all":
                for table in ("objects", "targets"):
                    tables[table] = tables[table].filter(pc.equal(tables[table]["level"], config.level))
        store = Store(folder)
        for table, content in tables.items():
            store.write(f"{table}.parquet", sharded.parquet_bytes(content))
        store.write_json("summary.json", summarise(tables, make_plan() | {"config": asdict(config)}))


@pytest.fixture
def demo():
    return open_dataset("demo", "", "val"), open_dataset("demo", "", "train")


def test_arms_and_their_comparison(demo, tmp_path):
    evaluate = Evaluator()
    tables = evaluate_adapted(*demo, EvaluationConfig(seed=3), list(ARMS), 7, str(tmp_path), evaluate)
    asked = evaluate.asked
    assert list(asked) == ["base", "best-of-10", "optimal", "curves", "by-class", "whole"]
    assert {name: adapted for name, (_, adapted, _) in asked.items()} == {
        name: name not in ("base", "best-of-10") for name in asked
    }
    assert all(config.seed == 3 for _, _, config in asked.values())
    # Granularities of classes are chosen on other images than those that are evaluated.
    assert [name for name, (dataset, _, _) in asked.items() if dataset is demo[1]] == ["curves"]
    assert (asked["curves"][2].sample, asked["curves"][2].clicks.early_stop) == (7, False)
    assert asked["by-class"][2].granularities == (("part", 0.1), ("part:ear", 0.1), ("part:head", 0.3))
    assert (asked["by-class"][2].level, asked["whole"][2].level, asked["base"][2].level) == ("part", "object", "all")
    assert asked["whole"][2].granularity == 1.0
    objects, parts = tables
    found = {row[0]: row[objects.head.index("NoC@90")] for row in objects.rows}
    assert found["base"].startswith("12.00")
    assert found["whole - base"].startswith("-2.00")
    assert "by-class" not in found
    found = {row[0]: row[parts.head.index("NoC@85")] for row in parts.rows}
    assert found["optimal - base"].startswith("-12.00")
    assert found["by-class - base"].startswith("-10.00")
    assert "whole" not in found
    written = (tmp_path / TABLES).read_text()
    assert "optimal - base" in written


def test_without_other_images_there_is_no_granularity_by_class(demo, tmp_path):
    evaluate = Evaluator()
    evaluate_adapted(demo[0], None, EvaluationConfig(), list(ARMS), 7, str(tmp_path), evaluate)
    assert "by-class" not in evaluate.asked
    assert "curves" not in evaluate.asked


def test_only_what_the_set_has_masks_for(demo, tmp_path):
    objects = replace(demo[0], about=replace(demo[0].about, levels=("object",)))
    evaluate = Evaluator()
    config = override(EvaluationConfig(), {"level": "object"})
    (table,) = evaluate_adapted(objects, demo[1], config, ["base", "by-class", "whole"], 7, str(tmp_path), evaluate)
    assert list(evaluate.asked) == ["base", "whole"]
    assert len(table.rows) == 3
    with pytest.raises(UserError, match="no masks for any of these"):
        evaluate_adapted(objects, demo[1], config, ["by-class"], 7, str(tmp_path), evaluate)
