"""Following a training: progress on the terminal, CSV and TensorBoard scalars, and looks at validation masks."""

from __future__ import annotations

import csv
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from tensorboardX import SummaryWriter

from agg_pipeline.evaluation.shard import Target
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.progress import duration
from agg_pipeline.training.loop import StepDone
from agg_pipeline.training.validation import Look, look
from schemas.config import PredictorConfig
from schemas.numbers import BINS

STEPS, LOOKS = "steps.csv", "validation.csv"
STEP_COLUMNS = ("step", "epoch", "loss", "lr", "samples_per_second", "waiting")
LOOK_COLUMNS = ("step", "level", "masks", *(f"iou@1 at {n / BINS:.1f}" for n in range(1, BINS + 1)))
SECONDS = 10.0
"""Between two lines on the terminal."""


class Monitor:
    """Called after every step. looks: what was seen of the validation masks, by step."""

    def __init__(self, out: Path, targets: Sequence[Target], config: PredictorConfig, minutes: float) -> None:
        self.out = out
        self.targets = targets
        self.config = config
        self.minutes = minutes
        self.looks: dict[int, Look] = {}
        self._recent: deque[float] = deque(maxlen=50)
        self._said = 0.0
        self._looked = time.monotonic()
        self._writer: SummaryWriter | None = None

    def __call__(self, done: StepDone, network: SimpleClick) -> None:
        """Log a step; say how far the training is and look at the validation masks, when it is time."""
        self._recent.append(done.loss)
        speed = done.samples / done.seconds
        values = (done.loss, done.lr, speed, done.waited / done.seconds)
        self._append(STEPS, STEP_COLUMNS, (done.step, done.epoch, *(f"{value:.6g}" for value in values)))
        self._scalars(done.step, dict(zip(STEP_COLUMNS[2:], values, strict=True)))
        now, last = time.monotonic(), done.step == done.steps
        if now - self._said > SECONDS or last:
            self._said = now
            left = done.seconds / max(1, done.samples) * (done.samples / max(1, done.step)) * (done.steps - done.step)
            loss = sum(self._recent) / len(self._recent)
            click.echo(
                f"step {done.step} of {done.steps}, loss {loss:.4f}, {speed:.1f} samples/s, "
                f"{done.waited / done.seconds:.0%} waiting for data, {duration(left)} left"
            )
        if self.targets and (last or now - self._looked > 60 * self.minutes):
            self.look(done.step, network)
            self._looked = time.monotonic()

    def look(self, step: int, network: SimpleClick) -> None:
        """Look at the validation masks now."""
        seen = self.looks[step] = look(network, self.targets, self.config)
        for level in dict.fromkeys(target.level for target in self.targets):
            own = [n for n, target in enumerate(self.targets) if target.level == level]
            means = seen.ious[own].mean(axis=0)
            self._append(LOOKS, LOOK_COLUMNS, (step, level, len(own), *(f"{mean:.4f}" for mean in means)))
            names = ("" if g is None else f" at {g:.1f}" for g in seen.granularities)
            self._scalars(step, {f"{level} iou@1{name}": mean for name, mean in zip(names, means, strict=True)})
            click.echo(f"step {step}, IoU@1 of {len(own)} {level}s: " + " ".join(f"{mean:.3f}" for mean in means))

    def close(self) -> None:
        """End the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_writer": None}

    def _append(self, name: str, head: Sequence[str], row: Sequence[Any]) -> None:
        path = self.out / name
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(head)
            writer.writerow(row)

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            self._writer = SummaryWriter(str(self.out / "tensorboard"))
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV log, none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def forget_after(out: Path, step: int) -> None:
    """Delete what was logged after a step: a resumed training writes it again."""
    for name in (STEPS, LOOKS):
        path = out / name
        rows = read_log(path)
        if rows:
            kept = [row for row in rows if int(row["step"]) <= step]
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(kept)
