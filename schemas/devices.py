"""Names of devices (``cpu``, ``cuda`` and ``cuda:N``), and the CPU cores of this process."""

from __future__ import annotations

import os


def device_kind(device: str) -> str:
    """The kind of a device: ``cuda`` for ``cuda:1``. Results depend on the kind, not on the number."""
    return device.partition(":")[0]


def available_cores() -> int:
    """Number of CPU cores that this process may run on.

    In a container, the default number of workers can be smaller: Dask also counts the container's limit of CPU time.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
