"""The training loop: resumable, on one device or several (Lightning Fabric); what it trains is the caller's."""

from __future__ import annotations

import copy
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader, Dataset

from agg_pipeline.models.files import check_gpu
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.samples import Batch, Batches, Sample, collate, generator
from agg_pipeline.training.step import Loss, batch_loss
from schemas.errors import StorageError, UserError
from schemas.training import TrainingConfig

CHECKPOINT = "checkpoint.pt"
OURS = tuple(f"{kind.__module__}.{kind.__qualname__}: " for kind in (UserError, StorageError))
"""How the last line of a traceback begins for an error that a user can mend."""
GO_ON = "--resume goes on from the last checkpoint"


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
        """The optimiser of the parameters, by name."""

    def lr(self, epoch: float) -> float:
        """Learning rate of a step."""

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
    out: Path
    resume: bool = False
    max_minutes: float | None = None
    checkpoint_minutes: float = 5.0


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


def train(training: Training, watch: Watch) -> Trained:
    """Train to the end of the last epoch, or until the time is up; UserError if it cannot go on.

    The last checkpoint is kept; with ``resume`` it is where training starts.
    """
    config = training.config
    device, _, index = config.device.partition(":")
    devices: int | list[int] = [int(index)] if index else config.devices
    if config.devices > 1 and index:
        raise UserError(f"device {config.device!r} is one device; for several, name cuda and --devices")
    if config.batch % config.devices:
        raise UserError(f"a batch of {config.batch} cannot be shared equally by {config.devices} devices")
    check_gpu(config.device, config.devices)
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
        return Trained(step, steps, _read_checkpoint(training.out)["state"])
    return _run(fabric, training, watch)


@contextmanager
def _of_processes() -> Iterator[None]:
    """Ends the other processes with this one, and turns what went wrong in them into this one's error."""
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
        for process in multiprocessing.active_children():
            process.terminate()


def _message(text: str) -> str:
    """The message of an error of ours, of which there may be a whole traceback."""
    last = text.rstrip().splitlines()[-1]
    return last.partition(": ")[2] if last.startswith(OURS) else last


def _run_alone(fabric: Fabric, training: Training, watch: Watch) -> tuple[int, int]:
    """Run in a process of its own, with a network of its own: what was sent lies in memory that all processes share."""
    try:
        done = _run(fabric, replace(training, network=copy.deepcopy(training.network)), watch)
    finally:
        watch.close()
    return done.step, done.steps


def _run(fabric: Fabric, training: Training, watch: Watch) -> Trained:
    try:
        return _make_steps(fabric, training, watch)
    except UserError as error:
        # From a process that prepares samples it comes with that one's traceback.
        raise UserError(_message(str(error))) from error
    except RuntimeError as error:
        # torch raises it wherever the program is when the signal comes.
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(f"a process that prepares samples was killed, for want of memory perhaps; {GO_ON}") from error


def _make_steps(fabric: Fabric, training: Training, watch: Watch) -> Trained:
    config = training.config
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)
    network = training.network
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in training.trained)
    learning = {name: parameter for name, parameter in network.named_parameters() if name in training.trained}
    optimizer = training.method.optimizer(learning)
    wrapped, optimizer = fabric.setup(network, optimizer)
    step = _resume(training, learning, optimizer) if training.resume else 0
    batches = Batches(training.epoch, config, fabric.global_rank, fabric.world_size)
    started = saved = time.monotonic()
    busy, waited, samples = 0.0, 0.0, 0
    loader = iter(_loader(training, batches, step))
    parent = multiprocessing.parent_process()
    while step < batches.steps:
        if parent is not None and not parent.is_alive():
            # The command was killed; without it nobody would take the result.
            raise SystemExit(1)
        asked = time.monotonic()
        batch = next(loader)
        waited += time.monotonic() - asked
        for group in optimizer.param_groups:
            group["lr"] = training.method.lr(step / batches.per_epoch)
        loss = _step(fabric, wrapped, optimizer, batch, step, step / batches.per_epoch, training)
        step += 1
        if not math.isfinite(loss):
            raise UserError(_diverged(training, f"the loss is {loss} at step {step}"))
        samples += len(batch) * fabric.world_size
        now = time.monotonic()
        busy += now - asked
        if fabric.is_global_zero:
            lr = optimizer.param_groups[0]["lr"]
            epoch = batches.epoch_of(step - 1) + 1
            watch(StepDone(step, batches.steps, epoch, loss, lr, samples, busy, waited), network)
        # All processes stop at the same step: the clock of the first one counts.
        over = training.max_minutes is not None and now - started > 60 * training.max_minutes
        over = bool(fabric.broadcast(over))
        due = now - saved > 60 * training.checkpoint_minutes
        if fabric.is_global_zero and (over or due or step == batches.steps):
            if not all(bool(value.isfinite().all()) for value in learning.values()):
                raise UserError(_diverged(training, f"weights are not finite after step {step}"))
            save_checkpoint(training, step, learning, optimizer)
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
    try:
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
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU has too little memory for a batch of {config.batch} in {config.accumulate} part(s): "
            f"a smaller batch, or more parts (accumulate) need less ({str(error).splitlines()[0]})"
        ) from error
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


def _loader(training: Training, batches: Batches, step: int) -> DataLoader[Any]:
    loaders = training.config.loaders
    return DataLoader(
        training.samples,
        batch_sampler=_After(batches, step),
        num_workers=loaders,
        collate_fn=collate,
        worker_init_fn=_start_loader,
        multiprocessing_context="spawn" if loaders else None,
        prefetch_factor=4 if loaders else None,
    )


def _start_loader(_number: int) -> None:
    cv2.setNumThreads(1)


def checkpoint_step(out: Path) -> int:
    """The step after which a folder's checkpoint was made; UserError if there is none."""
    return int(_read_checkpoint(out)["step"])


def _read_checkpoint(out: Path) -> dict[str, Any]:
    path = out / CHECKPOINT
    if not path.exists():
        raise UserError(f"{out} has no checkpoint to resume; leave --resume out")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"identity", "step", "state", "optimizer"} - set(content)
        missing |= {"identity"} if not isinstance(content.get("identity"), dict) else set()
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path} is damaged or no checkpoint; --overwrite starts afresh") from error
    if missing:
        raise UserError(f"{path} is no checkpoint: it lacks {sorted(missing)[0]}; --overwrite starts afresh")
    return content


def save_checkpoint(training: Training, step: int, learning: Mapping[str, Tensor], optimizer: Any) -> None:
    """Put the checkpoint in place as a whole or not at all."""
    content = {
        "identity": dict(training.identity),
        "step": step,
        "state": {name: value.detach().cpu() for name, value in learning.items()},
        "optimizer": optimizer.state_dict(),
    }
    target = training.out / CHECKPOINT
    temporary = target.with_suffix(".tmp")
    try:
        torch.save(content, temporary)
        temporary.replace(target)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {target}: {error}") from error


def _resume(training: Training, learning: Mapping[str, Tensor], optimizer: Any) -> int:
    """Take over the last checkpoint's state; the step it was made after. UserError if it is of another training."""
    content = _read_checkpoint(training.out)
    identity, state = content["identity"], content["state"]
    changed = sorted(key for key in training.identity if identity.get(key) != training.identity[key])
    if changed:
        raise UserError(
            f"{training.out / CHECKPOINT} is of another training: {', '.join(changed)} changed; "
            "use another output folder"
        )
    try:
        with torch.no_grad():
            for name, value in learning.items():
                value.copy_(state[name])
        optimizer.load_state_dict(content["optimizer"])
        return int(content["step"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{training.out / CHECKPOINT} is damaged: {error}; --overwrite starts afresh") from error


def _diverged(training: Training, what: str) -> str:
    kept = training.out / CHECKPOINT
    good = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
    return f"{what}; {good}; a lower learning rate (lr) may help"
