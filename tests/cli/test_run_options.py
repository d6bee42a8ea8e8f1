"""Options of the command line that a run or a training takes over."""

from dataclasses import fields
from pathlib import Path

import pytest

from agg_pipeline.cli.options import Run
from agg_pipeline.cli.training import TrainingRun


def marked(kind):
    """Options with a value of its own in every field, so that no two can be mixed."""
    return kind(**{field.name: f"value of {field.name}" for field in fields(kind)})


@pytest.mark.parametrize(
    ("given", "taken", "others"),
    [
        (marked(Run), marked(Run).into("folder"), {"out": "folder"}),
        (marked(Run), marked(Run).into("folder", limit=False), {"out": "folder", "limit_images": None}),
        (
            marked(TrainingRun),
            marked(TrainingRun).options(Path("folder"), print),
            {"out": Path("folder"), "check_owner": print},
        ),
    ],
)
def test_every_shared_field_arrives(given, taken, others):
    shared = {field.name for field in fields(taken)} - set(others)
    assert shared == {field.name for field in fields(given)} & {field.name for field in fields(taken)} - set(others)
    assert {name: getattr(taken, name) for name in shared} == {name: f"value of {name}" for name in shared}
    assert {name: getattr(taken, name) for name in others} == others
