"""The training loop of one process: step after step, with checkpoints; resuming gives the same weights to the bit."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from agg_pipeline.models.backend import set_backend_flags
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.checkpoint_content import Checkpoint
from agg_pipeline.training.torchrun import local_world_size
from agg_pipeline.training.training_batches import BatchOrder, load_batches, next_batch
from agg_pipeline.training.training_checkpoint import read_checkpoint, restore_checkpoint, save_checkpoint
from agg_pipeline.training.training_errors import diverged
from agg_pipeline.training.training_folder import VALIDATION, TrainingOptions
from agg_pipeline.training.training_log import read_log
from agg_pipeline.training.training_methods import Method
from agg_pipeline.training.training_sample import Sample
from agg_pipeline.training.training_step import update
from schemas.devices import CPU, available_cores
from schemas.training import TrainingConfig

MOST_CLICK_THREADS = 16
"""Threads of a process that search for corrective clicks, at most."""


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained, and how; can be sent to other processes.

    Attributes:
        network: the network with its adapter.
        trained: names of the parameters that learn; the others are frozen.
        samples: samples by (epoch, number).
        samples_per_epoch: numbers of an epoch.
        method: optimiser, schedule, loss and clicks.
        config: steps, devices and processes.
        identity: what the training is made of; a checkpoint of another identity is not resumed.
        options: output folder, checkpoints and time limit.
    """

    network: SimpleClick
    trained: frozenset[str]
    samples: Dataset[Sample]
    samples_per_epoch: int
    method: Method
    config: TrainingConfig
    identity: Mapping[str, Any]
    options: TrainingOptions


@dataclass(frozen=True)
class StepDone:
    """A finished step.

    Attributes:
        step: its number, from 1.
        steps: steps of the whole training.
        epoch: its epoch, from 1.
        loss: mean loss of its batch.
        lr: learning rate of the first group of parameters.
        samples: samples since this run began.
        seconds: seconds that these took, without validation and checkpoints.
        waited: seconds of these that were spent waiting for data.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    samples: int
    seconds: float
    waited: float


@dataclass(frozen=True)
class Trained:
    """How a training ended.

    Attributes:
        step: the last step that was made.
        steps: steps of the whole training.
        state: the parameters that were trained, by name.
    """

    step: int
    steps: int
    state: dict[str, Tensor]


class Watch(Protocol):
    """Follows a training in its first process."""

    def __call__(self, done: StepDone, network: SimpleClick) -> None:
        """Called after every step; may use the network, in evaluation mode too."""

    def validate(self, step: int, network: SimpleClick) -> None:
        """Called before the first step and after the last one; the network is on its device."""

    def close(self) -> None:
        """Called when no more steps come in this process."""


def run_steps(fabric: Fabric, training: Training, watch: Watch) -> Trained:
    """Train to the end of the last epoch, or until the time is up.

    The last checkpoint is kept; with ``resume`` the training starts from it.

    Args:
        fabric: the device, and the other processes.
        training: what is trained; its network is changed in place.
        watch: called in the first process.

    Returns:
        How the training ended.

    Raises:
        UserError: the checkpoint cannot be resumed, a sample cannot be made, loss or weights are not finite, or another
            run owns the output folder now; nothing more is written then.
        StorageError: a checkpoint cannot be written.
    """
    config, options, method, network = training.config, training.options, training.method, training.network
    set_backend_flags()
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)
    learning = freeze_others(network, training.trained)
    wrapped, optimizer = fabric.setup(network, method.optimizer(learning))
    order = BatchOrder(training.samples_per_epoch, config, fabric.global_rank, fabric.world_size)
    step = 0
    if options.resume:
        step = restore_checkpoint(options.out, training.identity, order.steps, learning, optimizer)
    if fabric.is_global_zero and not options.resume:
        watch.validate(step, network)
    started = saved = time.monotonic()
    busy, waited, samples = 0.0, 0.0, 0
    loader = load_batches(training.samples, order, step, config.loaders, pinned=fabric.device.type == "cuda")
    # Its threads end with it.
    pool = ThreadPoolExecutor(click_threads(config), "agg-clicks")
    while step < order.steps:
        _end_without_parent()
        asked = time.monotonic()
        batch = next_batch(loader)
        waited += time.monotonic() - asked
        epoch = step / order.per_epoch
        for group in optimizer.param_groups:
            group["lr"] = method.rate_factor(epoch) * group["highest"]
        loss = update(fabric, wrapped, optimizer, batch, step, epoch, method, config, pool)
        step += 1
        if not math.isfinite(loss):
            raise diverged(options.out, f"the loss is {loss} at step {step}")
        samples += len(batch) * fabric.world_size
        now = time.monotonic()
        busy += now - asked
        if fabric.is_global_zero:
            options.check_owner()
            lr = optimizer.param_groups[0]["lr"]
            watch(StepDone(step, order.steps, order.epoch_of(step - 1) + 1, loss, lr, samples, busy, waited), network)
        # All processes stop at the same step: the clock of the first process decides.
        limit = options.max_minutes
        over = limit is not None and _first_says(fabric, now - started > 60 * limit)
        due = now - saved > 60 * options.checkpoint_minutes
        if fabric.is_global_zero and (over or due or step == order.steps):
            _save(training, step, learning, optimizer)
            saved = now
        if over:
            break
    # A training that was resumed at its end has usually been validated there.
    if fabric.is_global_zero and not any(int(row["step"]) == step for row in read_log(options.out / VALIDATION)):
        options.check_owner()
        watch.validate(step, network)
    return Trained(step, order.steps, {name: value.detach().cpu().clone() for name, value in learning.items()})


def click_threads(config: TrainingConfig) -> int:
    """Threads of a process that search the errors of a batch: those it was given, or its share of the cores on a GPU.

    There the search would take longer than the forward that it waits for.
    """
    if config.device == CPU:
        return config.threads
    return max(config.threads, min(MOST_CLICK_THREADS, available_cores() // (local_world_size() or 1)))


def _first_says(fabric: Fabric, answer: bool) -> bool:
    """The first process's answer in all processes."""
    if fabric.world_size == 1:
        return answer
    total = fabric.all_reduce(torch.tensor(float(answer and fabric.is_global_zero)), reduce_op="sum")
    assert isinstance(total, Tensor)
    return bool(total > 0)


def read_last_checkpoint(training: Training) -> Checkpoint:
    """Read the checkpoint that a training resumes from, or has written; raises as ``read_checkpoint`` does."""
    order = BatchOrder(training.samples_per_epoch, training.config)
    learning = {name: value for name, value in training.network.named_parameters() if name in training.trained}
    optimizer = training.method.optimizer(learning)
    return read_checkpoint(training.options.out, training.identity, order.steps, learning, optimizer)


def freeze_others(network: nn.Module, trained: frozenset[str]) -> dict[str, nn.Parameter]:
    """Freeze all parameters but those that are trained, which are returned by name."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    return {name: parameter for name, parameter in network.named_parameters() if name in trained}


def _save(training: Training, step: int, learning: Mapping[str, Tensor], optimizer: Any) -> None:
    """Save a checkpoint; UserError if the weights are not finite or the folder is lost, and the last one stays."""
    out = training.options.out
    if not all(bool(value.isfinite().all()) for value in learning.values()):
        raise diverged(out, f"weights are not finite after step {step}")
    training.options.check_owner()
    save_checkpoint(out, training.identity, step, learning, optimizer)


def _end_without_parent() -> None:
    """End this process if the command that started it was killed: nobody would take the result."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)
