"""``agg eval adapted``: which evaluations it runs and what it compares, with results written by hand."""

from dataclasses import replace

import pytest

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.evaluation.comparison_page import PAGE
from agg_pipeline.evaluation.run_arms import ARMS, TABLES, evaluations, fitting, run_arms
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.resolve import override
from tests.evaluation.conftest import write_results


class Evaluator:
    """Writes results into the folder as an evaluation would, and remembers what it was asked for."""

    def __init__(self):
        self.asked = {}

    def __call__(self, planned):
        assert planned.folder.endswith(f"/{planned.name}")
        self.asked[planned.name] = (planned.dataset, planned.fine_tuned, planned.config)
        write_results(planned.folder, planned.name, planned.config)


@pytest.fixture
def demo():
    return open_dataset("demo", "", "val"), open_dataset("demo", "", "train")


def test_arms_and_their_comparison(demo, tmp_path):
    evaluate = Evaluator()
    out = str(tmp_path)
    planned = evaluations(*demo, EvaluationConfig(seed=3), list(ARMS), 7, out)
    tables = run_arms(planned, out, "the models", evaluate)
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
    page = (tmp_path / PAGE).read_text()
    assert '<a href="optimal/report.html">Report of optimal</a>' in page
    assert "optimal - base" in page and "<p>the models</p>" in page
    assert written.startswith("the models\n\n**objects")


def test_granularity_by_class_needs_other_images(demo, tmp_path):
    evaluate = Evaluator()
    planned = evaluations(demo[0], None, EvaluationConfig(), ["by-class"], 7, str(tmp_path))
    with pytest.raises(ValueError, match="needs other images"):
        run_arms(planned, str(tmp_path), "the models", evaluate)
    assert not evaluate.asked


def test_only_what_the_set_has_masks_for(demo, tmp_path):
    objects, parts = (replace(demo[0], about=replace(demo[0].about, levels=(level,))) for level in ("object", "part"))
    assert fitting([], objects) == ["base", "best-of-10", "optimal", "whole"]
    # The objects of such a set are the unions of its parts.
    assert fitting([], parts) == list(ARMS)
    assert fitting(["whole", "base"], parts) == ["whole", "base"]
    with pytest.raises(UserError, match="by-class evaluates parts, and data set demo has none; leave --only"):
        fitting(["base", "by-class"], objects)
    evaluate = Evaluator()
    config = override(EvaluationConfig(), {"level": "object"})
    planned = evaluations(objects, None, config, ["base", "whole"], 7, str(tmp_path))
    (table,) = run_arms(planned, str(tmp_path), "the models", evaluate)
    assert list(evaluate.asked) == ["base", "whole"]
    assert len(table.rows) == 3
