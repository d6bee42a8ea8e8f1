"""Launching a training: on one device here, or on several in processes of their own (Lightning Fabric)."""

from __future__ import annotations

import copy
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from agg_pipeline.datasets.all_cores import start_tracker
from agg_pipeline.models.backend import choose_device, has_bfloat16
from agg_pipeline.storage.temporary_folder import check_temporary_folder
from agg_pipeline.training.training_errors import HOW_TO_RESUME, error_of_traceback, explaining_lack_of_memory
from agg_pipeline.training.training_loop import Trained, Training, Watch, read_last_checkpoint, run_steps
from schemas.errors import UserError
from schemas.training import TrainingConfig
from schemas.words import plural

PATIENCE = 5.0
"""Seconds that a process whose work failed leaves the others to report the cause."""


def choose_devices(config: TrainingConfig) -> tuple[TrainingConfig, str]:
    """Choose what a training runs on.

    Args:
        config: device and precision may be ``auto``.

    Returns:
        The configuration with what was chosen, and the device in words.

    Raises:
        UserError: the devices are not there or cannot share a batch, or processes cannot start.
    """
    if config.devices > 1 and ":" in config.device:
        raise UserError(f"device {config.device!r} is one device; for several, use --device cuda with --devices")
    if config.batch % config.devices:
        raise UserError(
            f"--batch {config.batch} cannot be shared equally by {plural(config.devices, 'device')}; give a multiple"
        )
    device = choose_device(config.device, config.devices)
    if config.loaders or config.devices > 1:
        check_temporary_folder()
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if has_bfloat16(device.name) else "32-true"
    return replace(config, device=device.name, precision=precision), f"{device}, {precision}"


def train(training: Training, watch: Watch) -> Trained:
    """Launch a training and wait for its end: of the last epoch, or of its time.

    Args:
        training: what is trained; on one device its network is changed in place, on several it stays as it is.
        watch: called after every step in the first of the training's processes, to which it is pickled.

    Returns:
        How the training ended.

    Raises:
        UserError: the training cannot start, resume or continue.
    """
    config = training.config
    fabric = fabric_of(config)
    if config.devices == 1:
        with explaining_lack_of_memory(config):
            return run_steps(fabric, training, watch)
    # A partial and a tuple: Fabric moves the tensors in what it sends, and fails on frozen dataclasses. The weights are
    # too large for its pipe; they are read from the last checkpoint.
    launch: Callable[..., tuple[int, int]] = fabric.launch
    with _other_processes():
        step, steps = launch(partial(_run_in_process, training=training, watch=watch))
    return Trained(step, steps, read_last_checkpoint(training).state)


def fabric_of(config: TrainingConfig) -> Fabric:
    """Devices and arithmetic of a training, which were chosen."""
    assert config.precision != "auto"
    device, _, index = config.device.partition(":")
    devices: int | list[int] = [int(index)] if index else config.devices
    return Fabric(
        accelerator="cpu" if device == "cpu" else "cuda",
        devices=devices,
        precision=config.precision,
        strategy="ddp_spawn" if config.devices > 1 else "auto",
    )


def _run_in_process(fabric: Fabric, training: Training, watch: Watch) -> tuple[int, int]:
    """Train as one of several processes, with a copy of the network: what was sent lies in memory shared by all."""
    try:
        with explaining_lack_of_memory(training.config):
            done = run_steps(fabric, replace(training, network=copy.deepcopy(training.network)), watch)
    except RuntimeError:
        # If the connection to another process broke, that process says why. The first one to end is the one that is
        # heard; this one is ended as soon as the other has.
        time.sleep(PATIENCE)
        raise
    finally:
        watch.close()
    # Without this, the group's threads sometimes abort the process at its end.
    torch.distributed.destroy_process_group()
    return done.step, done.steps


@contextmanager
def _other_processes() -> Iterator[None]:
    """Raise an error of another process here, and end the other processes when the block is left."""
    start_tracker()
    before = set(multiprocessing.active_children())
    try:
        yield
    except ProcessRaisedException as error:
        # Only the traceback's text comes here.
        mended = error_of_traceback(str(error))
        if mended is None:
            raise
        raise mended from error
    except ProcessExitedException as error:
        raise UserError(f"a process of the training was killed ({error}); {HOW_TO_RESUME}") from error
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
