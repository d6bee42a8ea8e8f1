"""What a training is told that does not change the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingOptions:
    """out: folder of all its files. validation_masks: of each level, to look at meanwhile."""

    out: Path
    resume: bool = False
    overwrite: bool = False
    max_minutes: float | None = None
    checkpoint_minutes: float = 5.0
    validation_masks: int = 8
