"""The training loop: resumable, on one device or several (Lightning Fabric); what it trains is the caller's."""

from __future__ import annotations

import copy
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import cv2
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader, Dataset

from agg_pipeline.models.backend import check_gpu, set_backend_flags
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.samples import Batch, Batches, Sample, collate
from agg_pipeline.training.training_checkpoint import (
    GO_ON,
    diverged,
    read_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from agg_pipeline.training.training_options import TrainingOptions
from agg_pipeline.training.training_step import Loss, batch_loss
from schemas.errors import StorageError, UserError
from schemas.training import TrainingConfig
from stages.draws import generator

OURS = tuple(f"{kind.__module__}.{kind.__qualname__}: " for kind in (UserError, StorageError))
"""How the last line of a traceback begins for an error that a user can mend."""


KILLED = f"a process that prepares samples was killed, for want of memory perhaps; {GO_ON}"


@dataclass(frozen=True)
class StepDone:
    """A step: its number from 1, of how many, its epoch from 1, loss, learning rate, samples since the run began, and
    the seconds that these took (without looks and checkpoints); ``waited``: of these, for data."""

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    samples: int
    seconds: float
    waited: float


class Method(Protocol):
    """What one way of training has of its own. Epochs are counted from 0, and have parts."""

    def optimizer(self, learning: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of the parameters, by name; ``highest`` of each group is its highest learning rate."""

    def share(self, epoch: float) -> float:
        """Learning rate of a step as a share of the highest."""

    def loss(self, epoch: float) -> tuple[Loss, int]:
        """Loss of a step, and the largest number of rounds of iterative clicks before it."""

    @property
    def max_norm(self) -> float:
        """Of the gradient; 0 for no limit."""


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained, and how. Can be sent to other processes.

    network: with its adapter. trained: names of the parameters that learn, the others are frozen. samples: by (epoch,
    number), epoch: how many there are in each. identity: what a checkpoint must have been made of to be resumed.
    """

    network: SimpleClick
    trained: frozenset[str]
    samples: Dataset[Sample]
    epoch: int
    method: Method
    config: TrainingConfig
    identity: Mapping[str, Any]
    options: TrainingOptions


@dataclass(frozen=True)
class Trained:
    """How a training ended: after which step of how many, and the parameters that were trained."""

    step: int
    steps: int
    state: dict[str, Tensor]


class Watch(Protocol):
    """Called in the first process after every step; it may use the network, in evaluation mode, too."""

    def __call__(self, done: StepDone, network: SimpleClick) -> None:
        """A step has been made."""

    def close(self) -> None:
        """No more steps come in this process."""


def check_devices(config: TrainingConfig) -> None:
    """UserError if the devices are not there, or cannot share a batch."""
    if config.devices > 1 and ":" in config.device:
        raise UserError(f"device {config.device!r} is one device; for several, name cuda and --devices")
    if config.batch % config.devices:
        raise UserError(f"a batch of {config.batch} cannot be shared equally by {config.devices} devices")
    check_gpu(config.device, config.devices)


@contextmanager
def naming_lack_of_memory(config: TrainingConfig) -> Iterator[None]:
    """Turns a GPU's want of memory into a UserError that says how to go on."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU has too little memory for a batch of {config.batch} in {config.accumulate} part(s): "
            f"a smaller batch, or more parts (accumulate) need less ({str(error).splitlines()[0]})"
        ) from error


def train(training: Training, watch: Watch) -> Trained:
    """Train to the end of the last epoch, or until the time is up; UserError if it cannot go on.

    The last checkpoint is kept; with ``resume`` it is where training starts.
    """
    config = training.config
    device, _, index = config.device.partition(":")
    devices: int | list[int] = [int(index)] if index else config.devices
    fabric = Fabric(
        accelerator="cpu" if device == "cpu" else "cuda",
        devices=devices,
        precision=config.precision,
        strategy="ddp_spawn" if config.devices > 1 else "auto",
    )
    if config.devices > 1:
        # A partial and a tuple: Fabric looks for tensors in what it sends, and cannot in frozen dataclasses. What was
        # learnt would not pass through its pipe; the last checkpoint holds it.
        launch: Callable[..., tuple[int, int]] = fabric.launch
        with _of_processes():
            step, steps = launch(partial(_run_alone, training=training, watch=watch))
        return Trained(step, steps, read_checkpoint(training.options.out)["state"])
    return _run(fabric, training, watch)


@contextmanager
def _of_processes() -> Iterator[None]:
    """Ends the other processes with this one, and turns what went wrong in them into this one's error."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except ProcessRaisedException as error:
        # Only the text of what was raised comes here.
        last = str(error).rstrip().splitlines()[-1]
        if not last.startswith(OURS):
            raise
        raise UserError(_message(last)) from error
    except ProcessExitedException as error:
        raise UserError(f"a process of the training was killed ({error}); {GO_ON}") from error
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()


def _message(text: str) -> str:
    """The message of an error of ours, of which there may be a whole traceback."""
    last = text.rstrip().splitlines()[-1]
    return last.partition(": ")[2] if last.startswith(OURS) else text


def _run_alone(fabric: Fabric, training: Training, watch: Watch) -> tuple[int, int]:
    """Run in a process of its own, with a network of its own: what was sent lies in memory that all processes share."""
    try:
        done = _run(fabric, replace(training, network=copy.deepcopy(training.network)), watch)
    finally:
        watch.close()
    # Left to themselves, its threads abort the process now and then as it ends.
    torch.distributed.destroy_process_group()
    return done.step, done.steps


def _run(fabric: Fabric, training: Training, watch: Watch) -> Trained:
    with naming_lack_of_memory(training.config):
        return _steps(fabric, training, watch)


def _steps(fabric: Fabric, training: Training, watch: Watch) -> Trained:
    config, options = training.config, training.options
    set_backend_flags()
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)
    network = training.network
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in training.trained)
    learning = {name: parameter for name, parameter in network.named_parameters() if name in training.trained}
    optimizer = training.method.optimizer(learning)
    wrapped, optimizer = fabric.setup(network, optimizer)
    step = restore_checkpoint(options.out, training.identity, learning, optimizer) if options.resume else 0
    batches = Batches(training.epoch, config, fabric.global_rank, fabric.world_size)
    started = saved = time.monotonic()
    busy, waited, samples = 0.0, 0.0, 0
    loader = _loader(training, batches, step)
    parent = multiprocessing.parent_process()
    while step < batches.steps:
        if parent is not None and not parent.is_alive():
            # The command was killed; without it nobody would take the result.
            raise SystemExit(1)
        asked = time.monotonic()
        batch = _next(loader)
        waited += time.monotonic() - asked
        for group in optimizer.param_groups:
            group["lr"] = training.method.share(step / batches.per_epoch) * group["highest"]
        loss = _step(fabric, wrapped, optimizer, batch, step, step / batches.per_epoch, training)
        step += 1
        if not math.isfinite(loss):
            raise diverged(options.out, f"the loss is {loss} at step {step}")
        samples += len(batch) * fabric.world_size
        now = time.monotonic()
        busy += now - asked
        if fabric.is_global_zero:
            lr = optimizer.param_groups[0]["lr"]
            epoch = batches.epoch_of(step - 1) + 1
            watch(StepDone(step, batches.steps, epoch, loss, lr, samples, busy, waited), network)
        # All processes stop at the same step: the clock of the first one counts.
        over = options.max_minutes is not None and now - started > 60 * options.max_minutes
        over = bool(fabric.broadcast(over))
        due = now - saved > 60 * options.checkpoint_minutes
        if fabric.is_global_zero and (over or due or step == batches.steps):
            if not all(bool(value.isfinite().all()) for value in learning.values()):
                raise diverged(options.out, f"weights are not finite after step {step}")
            save_checkpoint(options.out, training.identity, step, learning, optimizer)
            saved = now
        if over:
            break
    return Trained(step, batches.steps, {name: value.detach().cpu().clone() for name, value in learning.items()})


def _step(
    fabric: Fabric,
    network: Any,
    optimizer: Any,
    batch: Batch,
    step: int,
    epoch: float,
    training: Training,
) -> float:
    """One update; its loss, the mean over all processes. Every draw depends on the step alone: it can be repeated."""
    config = training.config
    loss_of, max_rounds = training.method.loss(epoch)
    rounds = int(generator(config.seed, "rounds", step).integers(max_rounds + 1))
    rng = generator(config.seed, "clicks", step, fabric.global_rank)
    torch.manual_seed(int(generator(config.seed, "dropout", step, fabric.global_rank).integers(2**63)))
    optimizer.zero_grad()
    total = 0.0
    size = -(-len(batch) // config.accumulate)
    starts = range(0, len(batch), size)
    for start in starts:
        part = batch.part(start, start + size)
        with fabric.no_backward_sync(network, enabled=config.devices > 1 and start != starts[-1]):
            loss = batch_loss(network, part, loss_of, rounds, rng, fabric.device) * (len(part) / len(batch))
            fabric.backward(loss)
        total += float(loss.detach())
    if math.isfinite(total):
        if training.method.max_norm:
            fabric.clip_gradients(network, optimizer, max_norm=training.method.max_norm)
        optimizer.step()
    if config.devices > 1:
        mean = fabric.all_reduce(torch.tensor(total), reduce_op="mean")
        assert isinstance(mean, Tensor)
        total = float(mean)
    return total


@dataclass(frozen=True)
class _After:
    """The batches after a step, as a loader wants them."""

    batches: Batches
    step: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.batches.after(self.step)


def _loader(training: Training, batches: Batches, step: int) -> Iterator[Batch]:
    loaders = training.config.loaders
    before = signal.getsignal(signal.SIGCHLD)
    loader = iter(
        DataLoader(
            training.samples,
            batch_sampler=_After(batches, step),
            num_workers=loaders,
            collate_fn=collate,
            worker_init_fn=_start_loader,
            multiprocessing_context="spawn" if loaders else None,
            prefetch_factor=4 if loaders else None,
        )
    )
    # torch would have a killed process raise wherever this one is; without its handler it is the next batch that fails.
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
    return loader


def _next(loader: Iterator[Batch]) -> Batch:
    """The next batch; UserError if it cannot be made, or if a process that prepares samples was killed."""
    try:
        return next(loader)
    except UserError as error:
        # From another process it comes with that one's traceback.
        raise type(error)(_message(str(error))) from error
    except (ConnectionError, EOFError) as error:
        raise UserError(KILLED) from error
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(KILLED) from error


def _start_loader(_number: int) -> None:
    cv2.setNumThreads(1)
