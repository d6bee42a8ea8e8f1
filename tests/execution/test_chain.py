"""The batches of a model stage, shared by several workers; the toy pipeline, run in parts."""

from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.execution.chain import Advance, CpuStage, ModelStage, Times, part_of, run_batches, run_stages
from agg_pipeline.execution.shard_task import ShardTask, read_entry
from agg_pipeline.proposals.pipeline import chain, shard_tables
from schemas.errors import UserError
from schemas.records import ImageEntry, ImageSummary
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


class Tenfold:
    def predict(self, numbers):
        return [10 * number for number in numbers]


@dataclass(frozen=True)
class Numbers:
    """A state whose items are numbers; the image of a number has as many pixels."""

    numbers: tuple
    task: ShardTask = field(default_factory=lambda: ShardTask(0, "toy", (), pytest.fail, None))
    pixels: dict = field(default_factory=lambda: {str(number): np.zeros((1, number, 3)) for number in range(10)})


def image_of(number):
    return ImageSummary(str(number), "x.png", 1, number, "", "")


STAGE = ModelStage(
    "add",
    cut=lambda state: [state.numbers[:2], state.numbers[2:3], state.numbers[3:]],
    image=image_of,
    run=lambda state, batch, pixels, model: [
        number + image.shape[1] * state.numbers[0] for number, image in zip(model.predict(batch), pixels, strict=True)
    ],
    fill=lambda state, results: (*state.numbers, *results),
)


def test_a_model_stage_tells_the_share_of_the_whole_stage():
    state = Numbers((1, 2, 3, 4, 5, 6))
    told = []
    assert run_batches(STAGE, state, Tenfold(), advanced=told.append) == [11, 22, 33, 44, 55, 66]
    # At the beginning; after each prediction, which is the only one of its batch; and after each batch.
    expected = [(0, 0), (2, 0), (2, 1), (3, 1), (3, 2), (6, 2), (6, 3)]
    assert told == [Advance(items / 6, batches) for items, batches in expected]
    told = []
    assert run_batches(STAGE, state, Tenfold(), part=1, parts=2, advanced=told.append) == [44, 55, 66]
    assert told == [Advance(items / 6, batches) for items, batches in [(0, 0), (3, 0), (3, 1)]]
    assert run_stages([STAGE, CpuStage("sum", sum)], state, Tenfold()) == 21 + 231


def test_within_a_batch_what_still_runs_may_need_all_predictions_that_are_left():
    def run(_state, batch, _pixels, model):
        for running in (4, 4, 2, 1):
            model.predict(batch[:running])
        return batch

    stage = ModelStage("loop", lambda state: [state.numbers], image_of, run, lambda state, _results: state, longest=8)
    told = []
    run_batches(stage, Numbers((1, 2, 3, 4)), Tenfold(), advanced=told.append)
    # Of 8 predictions for 4 interactions, those are left that the running ones may still need.
    assert [advance.share for advance in told] == [0, 1 - 28 / 32, 1 - 24 / 32, 1 - 10 / 32, 1 - 4 / 32, 1]
    assert [advance.batches for advance in told] == [0, 0, 0, 0, 0, 1]


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


def test_an_image_for_which_there_is_no_memory_now_is_no_reject():
    def fail(_entry):
        raise MemoryError

    entry = ImageEntry("a\x1bb", "", 1, None)
    with pytest.raises(UserError, match=r"^there is not enough memory to read image a\\x1bb; use fewer --workers, or"):
        read_entry(ShardTask(0, "toy", (entry,), fail, None), entry)
