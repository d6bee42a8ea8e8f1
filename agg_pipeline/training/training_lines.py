"""What a training says on the terminal: a line per step, and a table per validation step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agg_pipeline.training.training_loop import StepDone
from schemas.words import duration, plural, speed


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
