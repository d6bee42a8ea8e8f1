"""Errors of a training as one line: those of other processes, and too little memory on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from schemas.errors import StorageError, UserError
from schemas.training import TrainingConfig
from schemas.words import plural

OURS = tuple(f"{kind.__module__}.{kind.__qualname__}: " for kind in (UserError, StorageError))
"""How the last line of a traceback starts for an error that the user can mend."""


def message_of_traceback(text: str) -> str:
    """The message of an error that the user can mend, from its traceback; any other text stays as it is."""
    last = text.rstrip().splitlines()[-1]
    return last.partition(": ")[2] if last.startswith(OURS) else text


@contextmanager
def explaining_lack_of_memory(config: TrainingConfig) -> Iterator[None]:
    """Turn a GPU's lack of memory into a UserError that says what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU has too little memory for a batch of {config.batch} in {plural(config.accumulate, 'part')}: "
            f"use a smaller --batch, or more parts with --accumulate ({str(error).splitlines()[0]})"
        ) from error
