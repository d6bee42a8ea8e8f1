"""What ``agg finetune`` and ``agg pretrain`` share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agg_pipeline.cli.option_groups import given
from agg_pipeline.cli.options import DRY_RUN, PLACE, finite
from agg_pipeline.cli.runs import check_start
from agg_pipeline.training.training_options import TrainingOptions
from schemas.config import PredictorConfig
from schemas.errors import UserError
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.training.run import Prepared


@dataclass(frozen=True)
class TrainingRun:
    """Where a training goes, how long it takes and how often it is looked at; nothing of it changes the weights."""

    out: str = given("--out", type=PLACE, required=True, help="Output folder, on this machine.")
    max_minutes: float | None = given(
        "--max-minutes",
        type=click.FloatRange(min=0),
        metavar="MINUTES",
        callback=finite,
        show_default="no limit",
        help="End after this time, with a checkpoint and the weights so far.",
    )
    checkpoint_minutes: float = given(
        "--checkpoint-minutes",
        type=click.FloatRange(min=0),
        metavar="MINUTES",
        default=5.0,
        callback=finite,
        help="Time between checkpoints.",
    )
    look_minutes: float = given(
        "--look-minutes",
        type=click.FloatRange(min=0),
        metavar="MINUTES",
        default=2.0,
        callback=finite,
        help="Time between validation steps.",
    )
    validation_masks: int = given(
        "--validation-masks",
        type=click.IntRange(min=0),
        metavar="MASKS",
        default=8,
        help="Masks per level in a validation step. 0: no validation.",
    )
    resume: bool = given("--resume", is_flag=True, help="Resume the training in the folder from its last checkpoint.")
    overwrite: bool = given("--overwrite", is_flag=True, help="Delete another training's files in the folder first.")
    dry_run: bool = given("--dry-run", is_flag=True, help=DRY_RUN)

    def options(self, folder: Path) -> TrainingOptions:
        """What the training itself takes. folder: the output folder, owned."""
        return TrainingOptions(
            folder,
            self.resume,
            self.overwrite,
            self.max_minutes,
            self.checkpoint_minutes,
            self.validation_masks,
            self.dry_run,
        )


@contextmanager
def own_folder(out: str) -> Iterator[Path]:
    """A local output folder, owned until the run ends; UserError if it cannot be, or another run owns it."""
    from agg_pipeline.storage.lock import owned
    from agg_pipeline.storage.store import Store

    folder = local_folder(out)
    with owned(Store(str(folder))):
        yield folder


def local_folder(out: str) -> Path:
    """A local output folder, which may be missing; UserError if it cannot be one."""
    from agg_pipeline.storage.store import Store

    check_start(out)
    store = Store(out)
    if not store.is_local():
        raise UserError(f"--out {out}: this command writes to a folder of this machine")
    return Path(store.anchored().url).resolve()


def run_prepared(
    config: FinetuneConfig | PretrainConfig, options: TrainingOptions, prepared: Prepared, look_minutes: float
) -> None:
    """Run a training, and say what it leaves; exits with 130 when it is interrupted."""
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.report.printed import say
    from agg_pipeline.training.run import run_training
    from agg_pipeline.training.training_folder import CHECKPOINT, PAGE
    from agg_pipeline.training.training_monitor import Monitor

    for note in prepared.notes:
        say(f"note: {note}")
    predictor = PredictorConfig(device=config.training.device, threads=config.training.threads)
    monitor = Monitor(options.out, prepared.validation, predictor, look_minutes)
    try:
        done, path = run_training(prepared, monitor, monitor.validate)
    except KeyboardInterrupt:
        there = (options.out / CHECKPOINT).exists()
        how = (
            "run the same command with --resume to resume from the last checkpoint"
            if there
            else "the same command starts again: there was no checkpoint yet"
        )
        click.echo(f"stopped; {how}", err=True)
        sys.exit(130)
    except OSError as error:
        raise UserError(f"cannot write {options.out}: {error.strerror}") from error
    finally:
        monitor.close()
    how = (
        "" if done.step == done.steps else f" after {done.step} of {plural(done.steps, 'step')}; use --resume to resume"
    )
    say(f"{path} holds what was learnt{how}")
    say(closing_line(str(options.out), str(options.out / PAGE)))
