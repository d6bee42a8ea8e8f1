"""What happens to a shard, without Dask: the stages that it goes through, and how long they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agg_pipeline.execution.batch_pixels import pixels_of
from agg_pipeline.execution.shard_files import Stamp
from agg_pipeline.execution.shard_task import ShardState, ShardTask
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.records import ImageSummary, Interaction, Pixels, Prediction
from stages.click_model import ClickModel


class TimedModel(ClickModel, Protocol):
    """A click model that counts the seconds of its forwards, and the batches that it split for lack of memory.

    Attributes:
        forward_seconds: seconds of its forwards so far.
        splits: batches that it has split so far.
        parameters: number of its weights.
    """

    forward_seconds: float
    splits: int
    parameters: int


@dataclass(frozen=True)
class CpuStage:
    """A stage without the model. Its function must be importable by name, because it is pickled.

    Attributes:
        name: as shown in the table of seconds.
        run: the next state of a shard, from the state that the stage before left (for the first stage: the task).
    """

    name: str
    run: Callable[[Any], Any]


@dataclass(frozen=True)
class ModelStage:
    """A stage that sends a shard through the model in batches. Several workers may share the batches of one shard.

    Attributes:
        name: as shown in the table of seconds.
        cut: the batches of a state, in order. They depend on the state alone, never on the workers.
        image: the image of an item of a batch.
        run: the results of one batch, from state, batch, pixels of each item's image, and model; independent of all
            other batches, and without the pixels.
        fill: the next state, from the state and the results of all batches in order.
        longest: largest number of predictions that a batch makes one after the other; only for progress.
        weight: expected time of the stage relative to the other model stages of the chain; only for progress.
    """

    name: str
    cut: Callable[[Any], Sequence[Sequence[Any]]]
    image: Callable[[Any], ImageSummary]
    run: Callable[[Any, Any, Sequence[Pixels], Any], Sequence[Any]]
    fill: Callable[[Any, Sequence[Any]], Any]
    longest: int = 1
    weight: float = 1.0


@dataclass(frozen=True)
class Chain:
    """The stages of every shard.

    Attributes:
        stages: in order.
        write: writes the tables of the last state into a store under a stamp, and returns their sidecar.
    """

    stages: tuple[CpuStage | ModelStage, ...]
    write: Callable[[Any, Store, Stamp], Json]

    @property
    def weight(self) -> float:
        """Sum over the model stages."""
        return sum(stage.weight for stage in self.stages if isinstance(stage, ModelStage))


@dataclass(frozen=True)
class Advance:
    """How far a part of a model stage is.

    Attributes:
        share: share of the whole stage that the part has done.
        batches: number of batches that it has finished.
    """

    share: float
    batches: int


def run_batches(
    stage: ModelStage,
    state: ShardState,
    model: ClickModel,
    part: int = 0,
    parts: int = 1,
    advanced: Callable[[Advance], None] = lambda _advance: None,
) -> list[Any]:
    """The results of one of several parts of a stage's batches.

    Args:
        stage: the stage.
        state: state of the shard before the stage.
        model: the click model.
        part: which part, from 0.
        parts: number of parts.
        advanced: called at the beginning, after each prediction and after each batch.
    """
    batches = stage.cut(state)
    items = sum(map(len, batches))
    pixels = pixels_of(state)

    def results_of(batch: Sequence[Any], number: int, before: int) -> Sequence[Any]:
        def watch(share: float) -> None:
            advanced(Advance((before + share * len(batch)) / items, number))

        of_batch = pixels.of([stage.image(item) for item in batch])
        return stage.run(state, batch, of_batch, _WatchedModel(model, stage.longest, watch))

    results: list[Any] = []
    done = 0
    advanced(Advance(0.0, 0))
    for number, batch in enumerate(part_of(batches, part, parts)):
        results += results_of(batch, number, done)
        done += len(batch)
        advanced(Advance(done / items, number + 1))
    return results


class _WatchedModel:
    """A model that reports, after each prediction, which share of a batch is done at least.

    A batch makes one prediction after the other, each for all its interactions that still run. Those that have ended
    are done. The others may need as many predictions as are left of ``longest``.
    """

    def __init__(self, model: ClickModel, longest: int, watch: Callable[[float], None]) -> None:
        self._model = model
        self._longest = longest
        self._watch = watch
        self._predictions = 0
        self._interactions = 1

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """What the model predicts."""
        predictions = self._model.predict(interactions)
        self._predictions += 1
        self._interactions = max(self._interactions, len(interactions))
        left = max(0.0, 1 - self._predictions / self._longest)
        self._watch(1 - left * len(interactions) / self._interactions)
        return predictions


def part_of(batches: Sequence[Sequence[Any]], part: int, parts: int) -> list[Sequence[Any]]:
    """Choose one of several consecutive parts of a list of batches; all parts have about the same number of items.

    Args:
        batches: all batches, in order.
        part: number of the part, from 0.
        parts: number of parts.

    Returns:
        The batches of the part, in order; there may be none.
    """
    items = sum(map(len, batches))
    chosen, before = [], 0
    for batch in batches:
        # By the middle of the batch, in halves of an item, to stay with integers.
        if parts * (2 * before + len(batch)) // (2 * items) == part:
            chosen.append(batch)
        before += len(batch)
    return chosen


def run_stages(stages: Sequence[CpuStage | ModelStage], state: Any, model: Any) -> Any:
    """Run stages one after the other in this process.

    Args:
        stages: the stages, in order.
        state: state before the first stage.
        model: the click model of the model stages.

    Returns:
        The state after the last stage.
    """
    for stage in stages:
        if isinstance(stage, ModelStage):
            state = stage.fill(state, run_batches(stage, state, model))
        else:
            state = stage.run(state)
    return state


@dataclass(frozen=True)
class Times:
    """What the work on shards has cost.

    Attributes:
        stages: busy seconds of workers, by stage.
        forwards: the seconds of model forwards among them.
        splits: number of batches that were split, because a GPU had too little memory for them.
    """

    stages: dict[str, float] = field(default_factory=dict)
    forwards: float = 0.0
    splits: int = 0

    def plus(self, other: Times) -> Times:
        """The sum of both."""
        stages = {name: self.stages.get(name, 0.0) + seconds for name, seconds in other.stages.items()}
        return Times(self.stages | stages, self.forwards + other.forwards, self.splits + other.splits)


@dataclass(frozen=True)
class Done:
    """A finished shard.

    Attributes:
        task: what it was made from.
        sidecar: its sidecar.
        times: busy seconds of the workers that made it.
    """

    task: ShardTask[Any]
    sidecar: Json
    times: Times
