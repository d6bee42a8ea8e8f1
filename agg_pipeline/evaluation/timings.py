"""How long an evaluation took: the file ``timings.json`` of a folder of results."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from agg_pipeline.evaluation.results_folder import TIMINGS
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.documents import Timings
from schemas.errors import StorageError, UserError

if TYPE_CHECKING:
    # It imports torch and Dask.
    from agg_pipeline.execution.job import Made


def timings_of(made: Made) -> Json:
    """Throughput of the shards that a run has made, and the latency of single clicks."""
    return {
        "images": made.images,
        "masks": sum(done.sidecar["masks"] for done in made.shards),
        "seconds": made.seconds,
        **asdict(made.times),
        "latency": None if made.answer is None else asdict(made.answer),
    }


def read_timings(place: Store) -> Json | None:
    """The timings that this run or an earlier one has left, None if there are none that can be used."""
    try:
        timings: Json = place.read_json(TIMINGS, Timings)
    except StorageError:
        raise
    except UserError:
        return None
    return {key: timings[key] for key in ("masks", "seconds", "latency")}
