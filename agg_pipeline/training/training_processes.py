"""Launching a training: on one device in this process, on several in processes of their own, or as torchrun says."""

from __future__ import annotations

import copy
import multiprocessing
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch
from lightning_fabric import Fabric

from agg_pipeline.models.backend import choose_device, has_bfloat16
from agg_pipeline.storage.temporary_folder import check_temporary_folder
from agg_pipeline.training.torchrun import launched_by_torchrun, local_world_size, world_size
from agg_pipeline.training.training_batches import terminal_ignored
from agg_pipeline.training.training_errors import (
    HOW_TO_RESUME,
    LostProcessError,
    explaining_lack_of_memory,
    explaining_lost_processes,
    sendable,
)
from agg_pipeline.training.training_loop import Trained, Training, Watch, read_last_checkpoint, run_steps
from schemas.errors import UserError
from schemas.training import TrainingConfig
from schemas.words import plural

PATIENCE = 5.0
"""Seconds for the cause: when a process ends, the others lose their connection to it, and may say so first."""
LOOPBACK = "127.0.0.1"


def choose_devices(config: TrainingConfig) -> tuple[TrainingConfig, str]:
    """Choose what a training runs on.

    Args:
        config: device and precision may be ``auto``.

    Returns:
        The configuration with what was chosen, and the device in words.

    Raises:
        UserError: the devices are not there or cannot share a batch, or processes cannot start.
    """
    if launched_by_torchrun():
        config = replace(config, devices=_devices_of_torchrun(config))
    if config.devices > 1 and ":" in config.device:
        raise UserError(f"device {config.device!r} is one device; for several, use --device cuda with --devices")
    if config.batch % config.devices:
        raise UserError(
            f"--batch {config.batch} cannot be shared equally by {plural(config.devices, 'device')}; give a multiple"
        )
    device = choose_device(config.device, local_world_size() or config.devices)
    if config.loaders or config.devices > 1:
        check_temporary_folder()
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if has_bfloat16(device.name) else "32-true"
    return replace(config, device=device.name, precision=precision), f"{device}, {precision}"


def _devices_of_torchrun(config: TrainingConfig) -> int:
    """Number of processes that torchrun has started; UserError if another one is asked for."""
    if config.devices not in (1, world_size()):
        raise UserError(
            f"--devices {config.devices} differs from the {plural(world_size(), 'process', 'processes')} that torchrun "
            "has started; leave it out"
        )
    return world_size()


def train(training: Training, watch: Watch) -> Trained:
    """Launch a training and wait for its end: of the last epoch, or of its time.

    Args:
        training: what is trained; if this process trains, its network is changed in place.
        watch: called after every step in the first of the training's processes; pickled to processes that start here.

    Returns:
        How the training ended.

    Raises:
        UserError: the training cannot start, resume or continue.
    """
    if training.config.devices == 1 or launched_by_torchrun():
        return _run(training, watch)
    step, steps = _run_in_processes(training, watch)
    # The weights are too large for the pipe of a process.
    return Trained(step, steps, read_last_checkpoint(training).state)


def fabric_of(config: TrainingConfig) -> Fabric:
    """Devices and arithmetic of a training, which were chosen."""
    assert config.precision != "auto"
    device, _, index = config.device.partition(":")
    accelerator = "cpu" if device == "cpu" else "cuda"
    if config.devices == 1:
        return Fabric(accelerator=accelerator, devices=[int(index)] if index else 1, precision=config.precision)
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = config.devices // here
    return Fabric(accelerator=accelerator, strategy="ddp", devices=here, num_nodes=nodes, precision=config.precision)


def _run(training: Training, watch: Watch) -> Trained:
    """Train in this process, alone or as one of several that the environment names as torchrun does."""
    with explaining_lack_of_memory(training.config), explaining_lost_processes():
        fabric = fabric_of(training.config)
        fabric.launch()
        done = run_steps(fabric, training, watch)
    if torch.distributed.is_initialized():
        # Without this, the group's threads sometimes abort the process at its end.
        torch.distributed.destroy_process_group()
    return done


@dataclass(frozen=True)
class _Failure:
    """How a process of a training failed.

    Attributes:
        error: what the user can mend; None if there is nothing.
        text: the traceback, or how the process was ended.
        killed: whether it was ended from outside.
    """

    error: UserError | None
    text: str
    killed: bool = False

    @property
    def rank(self) -> int:
        """How far it is from the cause: a process that has lost another one only knows that."""
        if self.error is None:
            return 1 if self.killed else 2
        return 3 if isinstance(self.error, LostProcessError) else 0


def _run_in_processes(training: Training, watch: Watch) -> tuple[int, int]:
    """Train in processes of this machine, one for each device; the last step, and the steps of the whole training."""
    count = training.config.devices
    store = torch.distributed.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    context = multiprocessing.get_context("spawn")
    pipes: dict[Connection, BaseProcess] = {}
    try:
        with terminal_ignored():
            for number in range(count):
                here, there = context.Pipe(duplex=False)
                environment = _environment(number, count, store.port)
                pipes[here] = context.Process(target=_run_and_tell, args=(environment, training, watch, there))
                pipes[here].start()
                there.close()
        return _first_result(pipes)
    finally:
        for process in pipes.values():
            process.terminate()
        for process in pipes.values():
            process.join()


def _environment(number: int, count: int, port: int) -> dict[str, str]:
    """The variables that torchrun gives a process of one machine; the store is in the process that starts it."""
    return {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "agg",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _run_and_tell(environment: Mapping[str, str], training: Training, watch: Watch, parent: Connection) -> None:
    """Train as one of several processes, and send to the parent how it went.

    The network is copied, because what was sent lies in memory that all processes share.
    """
    os.environ.update(environment)
    try:
        done = _run(replace(training, network=copy.deepcopy(training.network)), watch)
    except UserError as error:
        parent.send(_Failure(sendable(error), ""))
    except Exception:
        parent.send(_Failure(None, traceback.format_exc()))
    else:
        parent.send((done.step, done.steps))
    finally:
        watch.close()


def _first_result(pipes: Mapping[Connection, BaseProcess]) -> tuple[int, int]:
    """What the first process has done, when all have ended.

    Raises:
        UserError: one has failed. Of several failures, the cause of the others is told.
        RuntimeError: one has failed, and a user cannot mend that.
    """
    results: dict[Connection, tuple[int, int]] = {}
    failures: list[_Failure] = []
    deadline: float | None = None
    while len(results) + len(failures) < len(pipes):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        open_pipes = [pipe for pipe in pipes if not pipe.closed and pipe not in results]
        ready = wait(open_pipes, left)
        if not ready:
            break
        for pipe in ready:
            assert isinstance(pipe, Connection)
            told = _told(pipe, pipes[pipe])
            if isinstance(told, _Failure):
                failures.append(told)
                pipe.close()
                deadline = deadline or time.monotonic() + PATIENCE
            else:
                results[pipe] = told
    if failures:
        _raise_cause(failures)
    return results[next(iter(pipes))]


def _told(pipe: Connection, process: BaseProcess) -> tuple[int, int] | _Failure:
    """What a process has sent, or that it was killed before it could."""
    try:
        told: tuple[int, int] | _Failure = pipe.recv()
    except (EOFError, OSError):
        process.join(PATIENCE)
        return _Failure(None, f"exit code {process.exitcode}", killed=True)
    return told


def _raise_cause(failures: Sequence[_Failure]) -> None:
    cause = min(failures, key=lambda failure: failure.rank)
    if cause.error is not None:
        raise cause.error
    if cause.killed:
        raise UserError(f"a process of the training was killed ({cause.text}); {HOW_TO_RESUME}")
    raise RuntimeError(f"a process of the training has failed:\n{cause.text}")
