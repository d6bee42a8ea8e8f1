"""Options of the command line that a run or a training takes over."""

from dataclasses import fields
from pathlib import Path

import click
import pytest

from agg_pipeline.cli.config_options import ConfigOption
from agg_pipeline.cli.options import Count, Run
from agg_pipeline.cli.training import TrainingRun
from tests.cli.every_command import LEAVES


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
            {"out": Path("folder"), "check_owner": print, "writes": False},
        ),
    ],
)
def test_every_shared_field_arrives(given, taken, others):
    shared = {field.name for field in fields(taken)} - set(others)
    assert shared == {field.name for field in fields(given)} & {field.name for field in fields(taken)} - set(others)
    assert {name: getattr(taken, name) for name in shared} == {name: f"value of {name}" for name in shared}
    assert {name: getattr(taken, name) for name in others} == others


COUNTS = [
    (path, option.opts[-1], option.type.min)
    for path, command in LEAVES.items()
    for option in command.params
    if isinstance(option.type, Count)
]


def test_no_count_is_without_a_largest_value():
    unlimited = [
        (path, option.name)
        for path, command in LEAVES.items()
        for option in command.params
        if isinstance(option.type, click.IntRange)
        and option.type.max is None
        and not isinstance(option.type, Count)
        # Configurations have limits of their own.
        and not isinstance(option, ConfigOption)
    ]
    assert unlimited == []
    assert len(COUNTS) > 10


@pytest.mark.parametrize(("path", "option", "least"), COUNTS)
def test_a_count_fits_into_a_table(path, option, least):
    param = next(each for each in LEAVES[path].params if option in each.opts)
    context = click.Context(LEAVES[path])
    assert param.type.convert(str(least), param, context) == least
    assert param.type.convert(str(2**63 - 1), param, context) == 2**63 - 1
    with pytest.raises(click.BadParameter, match=r"^9223372036854775808 is more than 9223372036854775807$"):
        param.type.convert(str(2**63), param, context)
    with pytest.raises(click.BadParameter, match=r"^1{30}\.\.\. is more than 9223372036854775807$"):
        param.type.convert("1" * 4000, param, context)
    with pytest.raises(click.BadParameter, match="is not in the range"):
        param.type.convert(str(least - 1), param, context)
