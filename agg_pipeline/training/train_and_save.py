"""Running a prepared training: validate, train, save the result, write the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from agg_pipeline.models.backend import set_backend_flags
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.training_folder import PICTURES
from agg_pipeline.training.training_log import forget_after
from agg_pipeline.training.training_loop import StepDone, Trained, Training, Watch, read_last_checkpoint
from agg_pipeline.training.training_page import write_page
from agg_pipeline.training.training_processes import train
from agg_pipeline.training.validation_pictures import ValidationMask, delete_pictures_after
from schemas.canonical import Json


@dataclass(frozen=True, eq=False)
class Prepared:
    """A training that can start.

    Attributes:
        training: what is trained, and how.
        save: writes the trained network and returns the file.
        validation: masks of the validation steps; may be empty.
        notes: what the user should know before it starts.
        facts: what its page says.
        device: what it runs on, and why, in words.
    """

    training: Training
    save: Callable[[SimpleClick], Path]
    validation: tuple[ValidationMask, ...]
    notes: tuple[str, ...]
    facts: Json
    device: str


class _Nobody:
    """Follows a training in a process whose steps another one tells."""

    def __call__(self, done: StepDone, network: SimpleClick) -> None:
        """Called after every step."""

    def validate(self, step: int, network: SimpleClick) -> None:
        """Called before the first step and after the last one."""

    def close(self) -> None:
        """Called at the end."""


def take_part(prepared: Prepared) -> None:
    """Train as one of the processes of torchrun; the first one saves the result, and raises the same errors."""
    set_backend_flags()
    train(prepared.training, _Nobody())


def train_and_save(prepared: Prepared, watch: Watch) -> tuple[Trained, Path]:
    """Train, save the result and write the page.

    Args:
        prepared: the training.
        watch: follows the training.

    Returns:
        How the training ended, and the file of the result.

    Raises:
        UserError: the training cannot resume or continue, or another run owns the output folder now.
        StorageError: a file cannot be written.
    """
    training, out = prepared.training, prepared.training.options.out
    set_backend_flags()
    if training.options.resume:
        step = read_last_checkpoint(training).step
        forget_after(out, step)
        delete_pictures_after(out / PICTURES, step)
    done = train(training, watch)
    network = training.network
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in done.state.items():
            parameters[name].copy_(value)
    network.eval()
    training.options.check_owner()
    path = prepared.save(network)
    training.options.check_owner()
    write_page(out, prepared.facts)
    return done, path
