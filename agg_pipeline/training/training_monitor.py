"""Following a training: lines on the terminal, CSV and TensorBoard logs, and validation steps from time to time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.report.printed import say
from agg_pipeline.training.tensorboard_file import TensorBoardFile
from agg_pipeline.training.training_folder import PICTURES, STEPS, TENSORBOARD, VALIDATION
from agg_pipeline.training.training_log import STEP_COLUMNS, append
from agg_pipeline.training.training_loop import StepDone
from agg_pipeline.training.training_validation import validate
from agg_pipeline.training.validation_pictures import ValidationMask, write_picture
from schemas.config import PredictorConfig
from schemas.errors import StorageError
from schemas.words import duration, plural, speed

SECONDS = 10.0
"""Time between two lines on the terminal."""
AVERAGED = 50
"""Steps over which the loss on the terminal is averaged."""


@dataclass(frozen=True)
class LevelMeans:
    """Result of a validation step for the masks of one level.

    Attributes:
        level: "object" or "part".
        masks: number of masks.
        ious: mean IoU after one click, per granularity.
    """

    level: str
    masks: int
    ious: Sequence[float]


def step_line(first: StepDone, last: StepDone, loss: float) -> str:
    """How far a training is, how fast, and how long it will take, from the time of its steps.

    The wait for the first batch is left out: the loaders start in it.

    Args:
        first: the first step of this run.
        last: the last step.
        loss: mean loss of the last steps.

    Returns:
        One line.
    """
    seconds, waited = last.seconds - first.waited, last.waited - first.waited
    left = seconds / (last.step - first.step + 1) * (last.steps - last.step)
    return (
        f"step {last.step} of {last.steps}, loss {loss:.4f}, {speed(last.samples / seconds, 'sample')}, "
        f"{waited / seconds:.0%} waiting for data, {duration(left)} left"
    )


def validation_lines(step: int, granularities: Sequence[float | None], levels: Sequence[LevelMeans]) -> str:
    """The result of a validation step: a table with a column per granularity, 72 characters wide.

    Args:
        step: step of the training.
        granularities: granularities of the columns; (None,) for a model without granularity, which gives one line.
        levels: a row each.

    Returns:
        One line, or a title and the lines of the table.
    """
    title = f"validation at step {step}, mean IoU after 1 click"
    if granularities == (None,):
        values = (f"{level.ious[0]:.3f} ({_masks(level)})" for level in levels)
        return f"{title}: {', '.join(values)}"
    head = "  granularity " + " ".join(f"{granularity:5.1f}" for granularity in granularities)
    rows = (f"  {_masks(level):<11} " + " ".join(f"{iou:5.3f}" for iou in level.ious) for level in levels)
    return "\n".join((f"{title}:", head, *rows))


def _masks(level: LevelMeans) -> str:
    return plural(level.masks, level.level)


class Monitor:
    """Called after every step.

    Args:
        out: output folder.
        masks: validation masks; none for no validation.
        config: threads of the validation steps.
        minutes: time between validation steps.
    """

    def __init__(self, out: Path, masks: Sequence[ValidationMask], config: PredictorConfig, minutes: float) -> None:
        self.out = out
        self.masks = masks
        self.config = config
        self.minutes = minutes
        self._recent: deque[float] = deque(maxlen=AVERAGED)
        self._first: StepDone | None = None
        self._said = 0.0
        self._validated = time.monotonic()
        self._tensorboard: TensorBoardFile | None = None

    def __call__(self, done: StepDone, network: SimpleClick) -> None:
        """Log a step; print a line and validate when it is time."""
        self._first = self._first or done
        self._recent.append(done.loss)
        values = (done.loss, done.lr, done.samples / done.seconds, done.waited / done.seconds)
        append(self.out / STEPS, (done.step, done.epoch, *(f"{value:.6g}" for value in values)))
        self._scalars(done.step, dict(zip(STEP_COLUMNS[2:], values, strict=True)))
        now, last = time.monotonic(), done.step == done.steps
        if now - self._said > SECONDS or last:
            self._said = now
            say(step_line(self._first, done, sum(self._recent) / len(self._recent)))
        if now - self._validated > 60 * self.minutes and not last:
            self.validate(done.step, network)
            self._validated = time.monotonic()

    def validate(self, step: int, network: SimpleClick) -> None:
        """Make a validation step now, if there are validation masks; log, draw and print its result."""
        if not self.masks:
            return
        found = validate(network, self.masks, self.config)
        write_picture(self.out / PICTURES, step, self.masks, found)
        levels = []
        for level in sorted({mask.target.level for mask in self.masks}):
            own = [n for n, mask in enumerate(self.masks) if mask.target.level == level]
            means = found.ious[own].mean(axis=0).tolist()
            levels.append(LevelMeans(level, len(own), means))
            append(self.out / VALIDATION, (step, level, len(own), *(f"{mean:.4f}" for mean in means)))
            names = ("" if g is None else f" at {g:.1f}" for g in found.granularities)
            self._scalars(step, {f"{level} iou@1{name}": mean for name, mean in zip(names, means, strict=True)})
        say(validation_lines(step, found.granularities, levels))

    def close(self) -> None:
        """End the TensorBoard file."""
        if self._tensorboard is not None:
            # On a full disk there is nothing left to save.
            with suppress(StorageError):
                self._tensorboard.close()
            self._tensorboard = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tensorboard": None}

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._tensorboard is None:
            self._tensorboard = TensorBoardFile(self.out / TENSORBOARD, step)
        self._tensorboard.add(step, values)
