"""What ``--dry-run`` prints for a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agg_pipeline.cli.dry_run import NOTHING_WRITTEN, comment, print_config, seconds_so_far
from agg_pipeline.cli.training import TrainingRun, local_folder
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import duration, plural

if TYPE_CHECKING:
    from agg_pipeline.training.step_times import TrainingEstimate
    from agg_pipeline.training.train_and_save import Prepared
    from agg_pipeline.training.training_folder import TrainingOptions


def print_training(
    config: FinetuneConfig | PretrainConfig, prepare: Callable[[TrainingOptions], Prepared], run: TrainingRun
) -> None:
    """Print what a training would do, with an estimate of its time; nothing is written.

    Args:
        config: its configuration.
        prepare: prepares it.
        run: where it goes.
    """
    from agg_pipeline.training.step_times import estimate_training

    prepared = prepare(run.options(local_folder(run.out)))
    preparation = seconds_so_far()
    estimate = estimate_training(prepared, run.minutes_between_validations())
    print_config(config)
    for line in training_lines(prepared, estimate, preparation):
        comment(line)
    comment(NOTHING_WRITTEN)


def training_lines(prepared: Prepared, estimate: TrainingEstimate, preparation: float) -> list[str]:
    """What a training is made of, what is left of it, and how long that takes.

    Args:
        prepared: the training.
        estimate: of its time.
        preparation: seconds from the start of the command until it was prepared.
    """
    config, validation = prepared.training.config, prepared.validation
    per_epoch = estimate.steps // config.epochs
    steps = (
        f"steps: {estimate.steps} in {plural(config.epochs, 'epoch')} of {plural(per_epoch, 'step')}, "
        f"{plural(config.batch, 'sample')} each"
    )
    return [
        f"data: {prepared.facts['data']}",
        f"made of: {prepared.facts['how']}",
        f"on: {prepared.device}",
        steps + (f"; {estimate.done} done" if estimate.done else ""),
        f"validation: {plural(len(validation), 'mask')}, {plural(estimate.validations, 'time')}",
        *(f"note: {note}" for note in prepared.notes),
        f"time: {training_time(estimate, preparation, prepared.training.options.max_minutes, config.devices)}",
    ]


def training_time(estimate: TrainingEstimate, preparation: float, max_minutes: float | None, devices: int) -> str:
    """The time of a training in words.

    Args:
        estimate: what was measured.
        preparation: seconds that it takes before the first step.
        max_minutes: minutes after which the training ends; None for no limit.
        devices: number of devices.
    """
    left = estimate.steps - estimate.done
    if not left:
        return "none: all steps are done"
    steps = left * estimate.per_step
    limit = "" if max_minutes is None or steps <= 60 * max_minutes else f", ended by --max-minutes {max_minutes:g}"
    if limit and max_minutes is not None:
        steps = 60 * max_minutes
    validation = estimate.validations * estimate.per_validation
    start = preparation + estimate.start
    several = f"; starting {devices} processes and exchanging gradients come on top" if devices > 1 else ""
    return (
        f"about {duration(start + steps + validation)}: {duration(start)} to start, {duration(steps)} of steps"
        f" ({estimate.per_step:.2f} s per step){limit}, {duration(validation)} of validation{several}"
    )
