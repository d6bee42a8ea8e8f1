"""Options of a training that do not change its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training that do not change its weights.

    Attributes:
        out: output folder.
        resume: resume from the last checkpoint in it.
        overwrite: delete the files of another training in it.
        max_minutes: end cleanly after this time; None for no limit.
        checkpoint_minutes: time between checkpoints.
        validation_masks: masks per level for the validation steps; 0 for no validation.
        dry_run: only prepare the training, and write nothing.
    """

    out: Path
    resume: bool = False
    overwrite: bool = False
    max_minutes: float | None = None
    checkpoint_minutes: float = 5.0
    validation_masks: int = 8
    dry_run: bool = False
