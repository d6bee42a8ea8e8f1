"""The batches of a model stage, shared by several workers; the toy pipeline, run in parts."""

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.execution.chain import CpuStage, ModelStage, ShardTask, Times, part_of, run_batches, run_stages
from agg_pipeline.proposals.pipeline import chain, shard_tables
from schemas.resolve import override
from tests.toy_run import Halver

BATCHES = st.lists(st.integers(1, 9).map(lambda count: list(range(count))), max_size=20)


@settings(deadline=None, max_examples=200)
@given(BATCHES, st.integers(1, 7))
def test_parts_are_consecutive_and_hold_about_the_same_number_of_items(batches, parts):
    found = [part_of(batches, part, parts) for part in range(parts)]
    assert [batch for part in found for batch in part] == batches
    items = [sum(map(len, part)) for part in found]
    longest = max(map(len, batches), default=0)
    # A part ends at most half a batch away from where equal parts would end.
    assert all(abs(count - sum(items) / parts) <= longest for count in items)


def test_parts_by_hand():
    eight, four = list(range(8)), list(range(4))
    assert [part_of([eight, eight, four], part, 2) for part in range(2)] == [[eight], [eight, four]]
    assert [part_of([four], part, 3) for part in range(3)] == [[], [four], []]
    assert part_of([], 0, 2) == []


STAGE = ModelStage(
    "double",
    cut=lambda state: [state[:2], state[2:3], state[3:]],
    run=lambda state, batch, model: [model * item + state[0] for item in batch],
    fill=lambda state, results: [*state, *results],
)


def test_a_model_stage_reports_the_share_of_the_whole_stage():
    state = [1, 2, 3, 4, 5, 6]
    shares = []
    assert run_batches(STAGE, state, 10, done=shares.append) == [11, 21, 31, 41, 51, 61]
    assert shares == [0, 2 / 6, 3 / 6, 1]
    shares = []
    assert run_batches(STAGE, state, 10, part=1, parts=2, done=shares.append) == [41, 51, 61]
    assert shares == [0, 3 / 6]
    assert run_stages([STAGE, CpuStage("sum", sum)], state, 10) == 21 + 216


def _rows(shard):
    return {name: table.to_pylist() for name, table in shard_tables(shard).items()}


def _shared(stages, state, parts):
    """As ``run_stages``, but each part of a model stage works on a copy, and the results are copied, too."""
    for stage in stages:
        if isinstance(stage, CpuStage):
            state = stage.run(state)
            continue
        results = []
        for part in range(parts):
            results += deepcopy(run_batches(stage, deepcopy(state), Halver(), part, parts))
        state = stage.fill(state, results)
    return state


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_shard_made_in_parts_has_the_same_rows(toy_dataset, toy_config, parts):
    # Two rounds, and batches of three: the loops of an object are in two parts.
    config = override(toy_config, {"loop": {"rounds": 2}, "batch": {"batch_objects": 3}})
    stages = chain(config).stages
    task = ShardTask(0, toy_dataset.name, toy_dataset.entries, toy_dataset.read, config)
    alone = _rows(run_stages(stages, task, Halver()))
    assert len(alone["proposals"]) > 20
    assert _rows(_shared(stages, task, parts)) == alone


def test_times_add_up():
    first, second = Times({"load": 1.0, "write": 2.0}, 0.5), Times({"load": 3.0, "granularity": 1.0}, 0.25)
    assert first.plus(second) == Times({"load": 4.0, "write": 2.0, "granularity": 1.0}, 0.75)
