"""What a run is asked for beside its configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result: where it goes, how much of it is made, and who does the work.

    Attributes:
        out: output folder, a path or URL.
        limit_images: make only the first so many images of the plan; None for all.
        workers: number of worker processes on this machine; None for the default.
        workers_per_gpu: the same for each GPU; None for the default.
        scheduler: address of an existing Dask cluster; None for local workers.
        overwrite: whether to delete another run's files first.
        verify: whether to compare the checksums of finished shards, not only their sizes.
    """

    out: str
    limit_images: int | None = None
    workers: int | None = None
    workers_per_gpu: int | None = None
    scheduler: str | None = None
    overwrite: bool = False
    verify: bool = False
