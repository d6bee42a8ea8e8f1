"""Names of devices (``auto``, ``cpu``, ``cuda`` and ``cuda:N``), their batches, and the CPU cores of this process."""

from __future__ import annotations

import os

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
"""Names of devices without a number. ``auto`` is a GPU where there is one, else the CPU."""
CPU_OBJECTS, GPU_OBJECTS = 8, 32
"""Objects in a batch on the CPU and on a GPU, unless another number is asked for."""


def device_kind(device: str) -> str:
    """The kind of a device: ``cuda`` for ``cuda:1``. Results depend on the kind, not on the number."""
    return device.partition(":")[0]


def gpu_number(device: str) -> int | None:
    """The number of a GPU: 1 for ``cuda:1``, None for ``cuda`` and ``cpu``."""
    number = device.partition(":")[2]
    return int(number) if number else None


def available_cores() -> int:
    """Number of CPU cores that this process may run on.

    In a container, the default number of workers can be smaller: Dask also counts the container's limit of CPU time.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
