"""What ``agg finetune`` and ``agg pretrain`` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agg_pipeline.cli.last_words import is_of_output, last_words
from agg_pipeline.cli.option_groups import given
from agg_pipeline.cli.options import DRY_RUN, Count, finite
from agg_pipeline.cli.places import PLACE
from agg_pipeline.cli.run_log import run_log
from agg_pipeline.cli.start_and_stop import check_start
from agg_pipeline.storage.user_path import real_path
from agg_pipeline.training.torchrun import is_helper
from agg_pipeline.training.training_folder import TrainingOptions, not_locked
from schemas.config import PredictorConfig
from schemas.errors import StorageError, UserError
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.storage.lock import Ownership
    from agg_pipeline.training.train_and_save import Prepared


@dataclass(frozen=True)
class TrainingRun:
    """Where a training goes, how long it takes and how often it is validated; nothing of it changes the weights."""

    out: str = given("--out", type=PLACE, metavar="FOLDER", required=True, help="Output folder, on this machine.")
    max_minutes: float | None = given(
        "--max-minutes",
        type=click.FloatRange(min=0),
        metavar="MINUTES",
        callback=finite,
        show_default="no limit",
        help="End the training after this time, with a checkpoint and the weights so far.",
    )
    checkpoint_minutes: float = given(
        "--checkpoint-minutes",
        type=click.FloatRange(min=0),
        metavar="MINUTES",
        default=5.0,
        callback=finite,
        help="Time between checkpoints.",
    )
    validation_minutes: float = given(
        "--validation-minutes",
        type=click.FloatRange(min=0),
        metavar="MINUTES",
        default=2.0,
        callback=finite,
        help="Time between validation steps.",
    )
    look_minutes: float | None = given(
        "--look-minutes",
        type=click.FloatRange(min=0),
        callback=finite,
        hidden=True,
        help="Former name of --validation-minutes.",
    )
    validation_masks: int = given(
        "--validation-masks",
        type=Count(0),
        metavar="MASKS",
        default=8,
        help="Masks per level in a validation step. 0: no validation.",
    )
    resume: bool = given("--resume", is_flag=True, help="Resume the training in the folder from its last checkpoint.")
    overwrite: bool = given("--overwrite", is_flag=True, help="Delete another training's files in the folder first.")
    dry_run: bool = given("--dry-run", is_flag=True, help=DRY_RUN)

    def minutes_between_validations(self) -> float:
        """In minutes, under the option's present or former name."""
        return self.validation_minutes if self.look_minutes is None else self.look_minutes

    def options(self, folder: Path, check_owner: Callable[[], None] = not_locked) -> TrainingOptions:
        """What the training itself takes.

        Args:
            folder: the output folder.
            check_owner: raises UserError if another run owns the folder now.
        """
        return TrainingOptions(
            out=folder,
            resume=self.resume,
            overwrite=self.overwrite,
            max_minutes=self.max_minutes,
            checkpoint_minutes=self.checkpoint_minutes,
            validation_masks=self.validation_masks,
            writes=not self.dry_run,
            check_owner=check_owner,
        )


@contextmanager
def own_folder(out: str) -> Iterator[Ownership]:
    """Own a local output folder until the run ends; UserError if it cannot be, or another run owns it."""
    from agg_pipeline.storage.lock import owned
    from agg_pipeline.storage.store import Store

    with owned(Store(str(local_folder(out)))) as ownership:
        yield ownership


def local_folder(out: str) -> Path:
    """A local output folder, which may be missing; UserError if it cannot be one."""
    from agg_pipeline.storage.store import Store

    check_start(out)
    store = Store(out)
    if not store.is_local():
        raise UserError(
            f"--out {out} is not a folder of this machine, and this command cannot write elsewhere; name a local folder"
        )
    return real_path(store.anchored().url)


def run_training(run: TrainingRun, prepare: Callable[[TrainingOptions, Callable[[str], None]], Prepared]) -> None:
    """Own the output folder, prepare a training and run it.

    Under torchrun every process gets here. The first one does all this, the others only train with it.

    Args:
        run: where the training goes.
        prepare: makes it, and calls its second argument with a line before a step that takes long.

    Raises:
        UserError: the folder cannot be used, or the training cannot start or continue.
    """
    from agg_pipeline.report.printed import say
    from agg_pipeline.training.train_and_save import take_part

    if is_helper():
        options = replace(run.options(local_folder(run.out)), writes=False, validation_masks=0)
        try:
            take_part(prepare(options, lambda _text: None))
        except KeyboardInterrupt:
            # The first process speaks of it.
            sys.exit(130)
        return
    with own_folder(run.out) as ownership, run_log(ownership.store.url) as log:
        options = run.options(Path(ownership.store.url), ownership.check)
        prepared = prepare(options, say)
        log.begin()
        run_prepared(options, prepared, run.minutes_between_validations())


def run_prepared(options: TrainingOptions, prepared: Prepared, validation_minutes: float) -> None:
    """Run a training and print where its results are. Exits with code 130 when it is interrupted.

    Args:
        options: output folder and limits.
        prepared: the training, ready to run.
        validation_minutes: time between validation steps.

    Raises:
        UserError: the training cannot continue.
        StorageError: a file cannot be read or written now.
    """
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.report.printed import say
    from agg_pipeline.training.train_and_save import train_and_save
    from agg_pipeline.training.training_errors import HOW_TO_RESUME
    from agg_pipeline.training.training_folder import CHECKPOINT, PAGE
    from agg_pipeline.training.training_monitor import Monitor

    say(f"learning from {prepared.facts['data']}: {prepared.facts['how']}; on {prepared.device}")
    for note in prepared.notes:
        say(f"note: {note}")
    predictor = PredictorConfig(threads=prepared.training.config.threads)
    monitor = Monitor(options.out, prepared.validation, predictor, validation_minutes)
    try:
        done, path = train_and_save(prepared, monitor)
    except KeyboardInterrupt:
        there = (options.out / CHECKPOINT).exists()
        how = HOW_TO_RESUME if there else "there was no checkpoint yet; run the same command to start again"
        last_words(f"stopped; {how}")
        sys.exit(130)
    except OSError as error:
        if is_of_output(error):
            raise
        # What is written says itself what it could not write; this is an error of reading, perhaps of another process.
        raise StorageError(f"the training cannot continue: {error}") from error
    finally:
        monitor.close()
    how = (
        "" if done.step == done.steps else f" after {done.step} of {plural(done.steps, 'step')}; use --resume to resume"
    )
    say(f"{path} holds the trained weights{how}")
    say(closing_line(str(options.out), str(options.out / PAGE)))
