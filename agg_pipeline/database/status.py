"""``agg proposals status``: how far a run is, from its plan, sidecars and lock."""

from __future__ import annotations

from dataclasses import dataclass

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.storage.lock import owner


@dataclass(frozen=True, slots=True)
class Status:
    """Finished and planned shards and images, rows of proposals, and who is writing (None: nobody)."""

    dataset: str
    shards: int
    finished: int
    planned: int
    images: int
    proposals: int
    owner: str | None


def status(database: ProposalDatabase) -> Status:
    """The state of a database; checksums are not read, see ``validate``."""
    plan, sidecars = database.plan, database.sidecars.values()
    lock = owner(database.store)
    return Status(
        dataset=f"{plan['dataset']['name']}, {plan['dataset']['split']}",
        shards=len(plan["shards"]),
        finished=len(sidecars),
        planned=plan["dataset"]["images"],
        images=sum(sidecar["images"] for sidecar in sidecars),
        proposals=sum(sum(sidecar["kinds"].values()) for sidecar in sidecars),
        owner=None if lock is None else f"process {lock['pid']} on {lock['host']}",
    )
