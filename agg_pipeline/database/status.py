"""``agg database status``: how far a run is, from its plan, sidecars, summaries and lock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.description import description
from agg_pipeline.database.manifest import finished
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.resuming import damaged
from agg_pipeline.execution.shard_files import listing
from agg_pipeline.storage.lock import NO_LOCK, blocked_by, holder
from schemas.words import plural

COMPLETE = "complete"
"""How the state of a run begins that has made all that it was asked for."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far the run of a database is.

    Attributes:
        dataset: name and split; of all data sets of a combined database.
        state: in words, and what to do.
        shards: number of planned shards.
        finished: number of finished shards; damaged ones are not.
        damaged: numbers of the shards with a file that is missing or has another size than recorded.
        planned: number of planned images.
        images: number of images in finished shards.
        objects: number of objects in finished shards.
        proposals: number of their proposals; the rows of the objects themselves do not count.
        limited: whether the run is complete and was asked for only some of the planned images.
    """

    dataset: str
    state: str
    shards: int
    finished: int
    damaged: tuple[int, ...]
    planned: int
    images: int
    objects: int
    proposals: int
    limited: bool = False


def status(database: ProposalDatabase) -> Status:
    """The state of a database; sizes of files are compared with the recorded ones, as in resuming, not checksums."""
    plan, store = database.plan, database.store
    broken = set(damaged(store, database.sidecars, listing(store, DATABASE_LAYOUT), plan, verify=False))
    sidecars = [sidecar for index, sidecar in database.sidecars.items() if index not in broken]
    planned, images = sum(map(len, plan["shards"])), sum(sidecar["images"] for sidecar in sidecars)
    state = _state(database, planned, images, broken)
    objects = sum(sidecar["kinds"].get("object", 0) for sidecar in sidecars)
    return Status(
        dataset=description(plan).data,
        state=state,
        shards=len(plan["shards"]),
        finished=len(sidecars),
        damaged=tuple(sorted(broken)),
        planned=planned,
        images=images,
        objects=objects,
        proposals=sum(sum(sidecar["kinds"].values()) for sidecar in sidecars) - objects,
        limited=state.startswith(COMPLETE) and images < planned,
    )


def _state(database: ProposalDatabase, planned: int, images: int, broken: Collection[int]) -> str:
    run = holder(database.store)
    if run is not None and run.lives is not False:
        return f"running: {run.process}" if run.lives else f"running, unless it was killed: {run.process}"
    if blocking := blocked_by(database.store):
        return f"blocked: {blocking} {NO_LOCK}"
    if broken or database.broken:
        return f"damaged: {plural(len(broken) + len(database.broken), 'shard')}; run the same command again to repair"
    if finished(database.store, database.plan, database.sidecars) is None:
        return f"stopped: {images} of {plural(planned, 'image')}; run the same command again to resume"
    return COMPLETE if images == planned else f"{COMPLETE}: {images} of {plural(planned, 'image')}, as limited"
