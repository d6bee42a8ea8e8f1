"""What torchrun says of the process that it has started; every process of a training then runs the same command."""

from __future__ import annotations

import os


def launched_by_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def world_size() -> int:
    """Number of processes of the training, on all machines; 0 without torchrun."""
    return _number("WORLD_SIZE")


def local_world_size() -> int:
    """Number of processes of the training on this machine; 0 without torchrun."""
    return _number("LOCAL_WORLD_SIZE")


def is_helper() -> bool:
    """Whether another process of the training owns the output folder, logs and prints."""
    return _number("RANK") > 0


def _number(name: str) -> int:
    return int(os.environ[name]) if launched_by_torchrun() else 0
