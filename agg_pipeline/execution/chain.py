"""What the work on a shard is made of: its task, the chain of stages that it goes through, and how long they took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, Reject
from stages.click_model import ClickModel

C = TypeVar("C")


@dataclass(frozen=True, eq=False)
class ShardTask(Generic[C]):
    """What a worker must know to make a shard.

    excluded: images that killed their worker and are not read again. chosen: ids of its masks that are wanted, None for
    all; limit: only the first of these, None for all.
    """

    index: int
    dataset: str
    entries: tuple[ImageEntry, ...]
    read: Callable[[ImageEntry], ImageRecord]
    config: C
    excluded: frozenset[str] = frozenset()
    chosen: frozenset[str] | None = None
    limit: int | None = None


def read_entry(task: ShardTask[Any], entry: ImageEntry) -> ImageRecord | Reject:
    """The record of one of a task's images, or why it cannot be used."""
    if entry.image_id in task.excluded:
        return Reject(entry.image_id, None, None, "load", "killed_worker")
    try:
        return task.read(entry)
    except ImageError as error:
        return Reject(entry.image_id, None, None, "load", error.reason, error.detail)


class TimedModel(ClickModel, Protocol):
    """A click model that adds up the seconds of its forwards."""

    forward_seconds: float


@dataclass(frozen=True)
class Stage:
    """A link of the chain, run in the ``model`` or the ``cpu`` executor of a worker.

    run: from the state that the stage before has left (for the first one: the task) to the next, with the model as a
    second argument in the ``model`` executor. A function of a module, so that it can be pickled.
    """

    name: str
    executor: Literal["cpu", "model"]
    run: Callable[..., Any]


@dataclass(frozen=True)
class Chain:
    """The stages of every shard. write: puts the last state into a store under a config hash; returns the sidecar."""

    stages: tuple[Stage, ...]
    write: Callable[[Any, Store, str], Json]


@dataclass(frozen=True)
class Times:
    """Busy seconds of shards by stage, and of these the seconds in model forwards."""

    stages: dict[str, float] = field(default_factory=dict)
    forwards: float = 0.0

    def plus(self, other: Times) -> Times:
        """The sum of both."""
        stages = {name: self.stages.get(name, 0.0) + seconds for name, seconds in other.stages.items()}
        return Times(self.stages | stages, self.forwards + other.forwards)


@dataclass(frozen=True)
class Done:
    """A finished shard."""

    task: ShardTask[Any]
    sidecar: Json
    times: Times
