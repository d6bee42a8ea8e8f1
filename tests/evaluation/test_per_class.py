"""--granularity-from with results that do not fit: nothing is evaluated without the granularity that was asked for."""

import re
from dataclasses import replace

import pytest

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.selection import Selection, select
from agg_pipeline.evaluation.per_class import check_granularities
from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.evaluation.terminal_summary import remarks
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from tests.e2e.commands import error_of, invoke
from tests.evaluation.conftest import make_plan, make_run, make_tables, run_of

OBJECTS = (("object", 0.5), ("object:animal", 0.4))
PARTS = (("part", 0.5), ("part:animal leg", 0.4))


@pytest.fixture(scope="module")
def demo():
    """Objects and parts of the classes animal, figure, plant and vehicle."""
    return open_dataset("demo", "", "2")


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (OBJECTS, "part", "curves has no part masks, and part masks are evaluated; make such results"),
        (OBJECTS, "all", "curves has no part masks"),
        (PARTS, "object", "curves has no object masks"),
        ((("object", 0.5), ("object:cat", 0.4), ("object:dog", 0.4)), "object", "none of the classes of demo"),
        ((("object", 0.5), ("object:cat", 0.4), *PARTS), "object", "evaluated, but cat; give results"),
        ((("part", 0.5), ("part:animals leg", 0.4)), "part", "none of the classes of demo"),
    ],
)
def test_results_of_other_masks_are_refused(demo, found, level, said):
    with pytest.raises(UserError, match=re.escape(said)):
        check_granularities("curves", found, demo, level)


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (OBJECTS, "object"),
        (PARTS, "part"),
        (OBJECTS + PARTS, "all"),
        ((("object", 0.5), ("object:cat", 0.4), *PARTS), "all"),
        ((("object", 0.5), ("object:", 0.4)), "object"),
    ],
)
def test_results_that_fit_some_masks_are_used(demo, found, level):
    check_granularities("curves", found, demo, level)


def test_classes_are_those_that_were_chosen(demo):
    check_granularities("curves", OBJECTS, select(demo, Selection(classes=("animal",))), "object")
    with pytest.raises(UserError, match="none of the classes"):
        check_granularities("curves", OBJECTS, select(demo, Selection(classes=("plant",))), "object")


def test_a_set_without_classes_takes_the_granularity_of_the_level(demo):
    check_granularities("curves", OBJECTS, replace(demo, classes=()), "object")


def test_a_part_of_a_class_may_be_listed_as_such(demo):
    listed = replace(demo, classes=("Person Hair", "Quadruped Head"))
    check_granularities("curves", (("part", 0.5), ("part:person hair", 0.4)), listed, "part")
    check_granularities("curves", (("object", 0.5), ("object:Person", 0.4)), listed, "object")


def test_the_command_refuses_them_before_the_evaluation(tmp_path):
    ten = [run_of(2 if g == 3 else 5, 0.9, g / 10, g == 3) for g in range(1, 11)]
    plan = make_plan(mode="curves", clicks={"early_stop": False})
    curves, out = tmp_path / "curves", tmp_path / "out"
    tables = make_tables([("a", "object", "animal", 300, ten)])
    Store(str(curves)).write_json("summary.json", summarise(tables, plan))
    how = ("eval", "run", "--adapter", "built-in", "--granularity-from", curves, "--out", out)
    said = f"--granularity-from {curves} has no part masks, and part masks are evaluated; make such results with "
    assert error_of(invoke(*how, "--level", "part")).startswith(said)
    assert not (out / "summary.json").exists()


def test_classes_without_their_own_granularity_are_named():
    classes = ("animal leg", "", "plant leaf", "animal tail")
    tables = make_tables([("a", "part", kind or None, 1, [make_run([0.9])]) for kind in classes])
    plan = make_plan(mode="per_class", granularities=PARTS)
    assert remarks(summarise(tables, plan)) == [
        "2 part classes without their own granularity in the other results, evaluated at that of all parts: "
        "animal tail, plant leaf"
    ]
    plan = make_plan(mode="per_class", granularities=(*PARTS, ("part:animal tail", 0.1), ("part:plant leaf", 0.1)))
    assert remarks(summarise(tables, plan)) == []
