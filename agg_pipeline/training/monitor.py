"""Following a training: progress on the terminal, CSV and TensorBoard scalars, and looks at validation masks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from tensorboardX import SummaryWriter

from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.report.progress import duration
from agg_pipeline.training.loop import StepDone
from agg_pipeline.training.training_folder import LOOKS, PICTURES, STEPS, TENSORBOARD
from agg_pipeline.training.training_log import LOOK_COLUMNS, STEP_COLUMNS, append
from agg_pipeline.training.training_page import write_strip
from agg_pipeline.training.validation_masks import look
from schemas.config import PredictorConfig

SECONDS = 10.0
"""Between two lines on the terminal."""


class Monitor:
    """Called after every step. targets: validation masks to look at every so many ``minutes``, none for no looks."""

    def __init__(self, out: Path, targets: Sequence[EvaluatedMask], config: PredictorConfig, minutes: float) -> None:
        self.out = out
        self.targets = targets
        self.config = config
        self.minutes = minutes
        self._recent: deque[float] = deque(maxlen=50)
        # Steps of this run; a resumed one begins later than with the first.
        self._made = 0
        self._said = 0.0
        self._looked = time.monotonic()
        self._writer: SummaryWriter | None = None

    def __call__(self, done: StepDone, network: SimpleClick) -> None:
        """Log a step; say how far the training is and look at the validation masks, when it is time."""
        self._made += 1
        self._recent.append(done.loss)
        speed = done.samples / done.seconds
        values = (done.loss, done.lr, speed, done.waited / done.seconds)
        append(self.out / STEPS, STEP_COLUMNS, (done.step, done.epoch, *(f"{value:.6g}" for value in values)))
        self._scalars(done.step, dict(zip(STEP_COLUMNS[2:], values, strict=True)))
        now, last = time.monotonic(), done.step == done.steps
        if now - self._said > SECONDS or last:
            self._said = now
            left = done.seconds / self._made * (done.steps - done.step)
            loss = sum(self._recent) / len(self._recent)
            click.echo(
                f"step {done.step} of {done.steps}, loss {loss:.4f}, {speed:.1f} samples/s, "
                f"{done.waited / done.seconds:.0%} waiting for data, {duration(left)} left"
            )
        if self.targets and now - self._looked > 60 * self.minutes and not last:
            self.look(done.step, network)
            self._looked = time.monotonic()

    def look(self, step: int, network: SimpleClick) -> None:
        """Look at the validation masks now, if there are some."""
        if not self.targets:
            return
        seen = look(network, self.targets, self.config)
        write_strip(self.out / PICTURES, step, self.targets, seen)
        for level in sorted({target.level for target in self.targets}):
            own = [n for n, target in enumerate(self.targets) if target.level == level]
            means = seen.ious[own].mean(axis=0)
            append(self.out / LOOKS, LOOK_COLUMNS, (step, level, len(own), *(f"{mean:.4f}" for mean in means)))
            names = ("" if g is None else f" at {g:.1f}" for g in seen.granularities)
            self._scalars(step, {f"{level} iou@1{name}": mean for name, mean in zip(names, means, strict=True)})
            click.echo(f"step {step}, IoU@1 of {len(own)} {level}s: " + " ".join(f"{mean:.3f}" for mean in means))

    def close(self) -> None:
        """End the TensorBoard file."""
        if self._writer is not None:
            # What a full disk does not take is of no use any more.
            with suppress(OSError):
                self._writer.close()
            self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_writer": None}

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            folder = str(self.out / TENSORBOARD)
            self._writer = SummaryWriter(folder, purge_step=step, flush_secs=SECONDS)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
