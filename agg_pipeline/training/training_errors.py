"""Errors of a training as one line: of other processes, a lack of memory, and numbers that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from agg_pipeline.models.backend import gpu_is_full
from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.errors import StorageError, UserError
from schemas.training import TrainingConfig
from schemas.words import plural

HOW_TO_RESUME = "run the same command with --resume to resume from the last checkpoint"


class LostProcessError(UserError):
    """Another process of the training has ended; it says why."""


def sendable(error: UserError) -> UserError:
    """The same error for another process: of a kind that can be pickled, and without its cause, which may not be."""
    kind = next(kind for kind in (StorageError, LostProcessError, UserError) if isinstance(error, kind))
    return kind(str(error))


@contextmanager
def explaining_lack_of_memory(config: TrainingConfig) -> Iterator[None]:
    """Turn a GPU's lack of memory into a UserError that says what to change."""
    try:
        yield
    except RuntimeError as error:
        if not gpu_is_full(error):
            raise
        raise UserError(
            f"the GPU has too little memory for a batch of {config.batch} in {plural(config.accumulate, 'part')}; "
            f"use a smaller --batch, or more parts with --accumulate ({str(error).splitlines()[0]})"
        ) from error


@contextmanager
def explaining_lost_processes() -> Iterator[None]:
    """Turn a lost connection to another process of the training into a LostProcessError; that process says why."""
    try:
        yield
    except RuntimeError as error:
        # gloo, which connects processes without GPUs, has no error of its own.
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        raise LostProcessError(f"the connection to another process of the training is lost; {HOW_TO_RESUME}") from error


def diverged(out: Path, what: str) -> UserError:
    """The error for a loss or weights that are not finite; ``what`` says which."""
    kept = out / CHECKPOINT
    good = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
    return UserError(f"{what}; {good}; try a lower learning rate (--lr)")
