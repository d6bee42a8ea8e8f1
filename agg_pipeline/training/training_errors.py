"""Errors of a training as one line: those of other processes, a lack of memory, and numbers that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.errors import StorageError, UnusableFileError, UserError
from schemas.training import TrainingConfig
from schemas.words import plural

HOW_TO_RESUME = "run the same command with --resume to resume from the last checkpoint"
KINDS = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in (UserError, StorageError, UnusableFileError)}
"""Errors that the user can mend, as the last line of a traceback begins with them."""


def error_of_traceback(text: str) -> UserError | None:
    """The error of another process, from the text of its traceback; None if the user cannot mend it."""
    name, colon, message = (text.rstrip().splitlines() or [""])[-1].partition(": ")
    if not colon or name not in KINDS:
        return None
    return StorageError(message) if KINDS[name] is StorageError else UserError(message)


@contextmanager
def explaining_lack_of_memory(config: TrainingConfig) -> Iterator[None]:
    """Turn a GPU's lack of memory into a UserError that says what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU has too little memory for a batch of {config.batch} in {plural(config.accumulate, 'part')}; "
            f"use a smaller --batch, or more parts with --accumulate ({str(error).splitlines()[0]})"
        ) from error


def diverged(out: Path, what: str) -> UserError:
    """The error for a loss or weights that are not finite; ``what`` says which."""
    kept = out / CHECKPOINT
    good = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
    return UserError(f"{what}; {good}; try a lower learning rate (--lr)")
