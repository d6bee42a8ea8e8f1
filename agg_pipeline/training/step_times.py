"""How long a training would take: a few of its steps are made here, in memory, and thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import cv2
import torch

from agg_pipeline.models.backend import set_backend_flags
from agg_pipeline.training.train_and_save import Prepared
from agg_pipeline.training.training_batches import Batch, BatchOrder, collate, load_batches, next_batch
from agg_pipeline.training.training_errors import explaining_lack_of_memory
from agg_pipeline.training.training_loop import Training, freeze_others, read_last_checkpoint
from agg_pipeline.training.training_processes import fabric_of
from agg_pipeline.training.training_step import rounds_of, update
from agg_pipeline.training.training_validation import validate
from schemas.config import PredictorConfig
from schemas.devices import available_cores
from schemas.training import TrainingConfig

SECONDS = 5.0
"""The measured steps are repeated until they have taken so long, but at most ``REPEATS`` times."""
REPEATS = 4
BATCHES = 3
"""Batches that are prepared to measure the time of one; the first is not counted."""
VALIDATED = 4
"""Masks by which the time of a validation step is measured; the first is not counted."""


@dataclass(frozen=True)
class Cost:
    """What something takes.

    Attributes:
        seconds: time.
        cpu: seconds of all cores of the processor.
    """

    seconds: float
    cpu: float


@dataclass(frozen=True)
class TrainingEstimate:
    """How long a training would take.

    Attributes:
        steps: steps of the whole training.
        done: those that are done.
        per_step: mean seconds of a step, the wait for data included.
        start: seconds until the first batch is prepared.
        validations: number of validation steps.
        per_validation: seconds of each.
    """

    steps: int
    done: int
    per_step: float
    start: float
    validations: int
    per_validation: float


def estimate_training(prepared: Prepared, validation_minutes: float) -> TrainingEstimate:
    """Measure a few steps of a training, and scale them to all steps.

    The network is changed. On several devices, the share of one of them is measured.

    Args:
        prepared: the training.
        validation_minutes: time between validation steps.

    Raises:
        UserError: the checkpoint cannot be resumed, a sample cannot be made, or memory is too small.
    """
    training = prepared.training
    config, options = training.config, training.options
    done = read_last_checkpoint(training).step if options.resume else 0
    order = BatchOrder(training.samples_per_epoch, config, 0, config.devices)
    set_backend_flags()
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)
    left = order.steps - done
    if left <= 0:
        return TrainingEstimate(order.steps, done, 0.0, 0.0, 0, 0.0)
    with explaining_lack_of_memory(config):
        began = time.perf_counter()
        loader = load_batches(training.samples, order, done, config.loaders)
        next_batch(loader)
        start = time.perf_counter() - began
        del loader
        per_step = step_seconds(_step_cost(training, order, done), _batch_cost(training, order, done), config)
        per_validation = _validation_seconds(prepared)
    seconds = left * per_step
    if options.max_minutes is not None:
        seconds = min(seconds, 60 * options.max_minutes)
    between = int(seconds / max(60 * validation_minutes, per_step))
    validations = between + (1 if options.resume else 2) if prepared.validation else 0
    return TrainingEstimate(order.steps, done, per_step, start, validations, per_validation)


def step_seconds(step: Cost, batch: Cost, config: TrainingConfig, cores: int | None = None) -> float:
    """Mean time between two steps.

    The loaders prepare a batch while the step before it is made. Where there are fewer cores than both could use, they
    share them.

    Args:
        step: a step, on one device.
        batch: preparing its batch, in one process.
        config: loaders and devices.
        cores: cores of the processor; None for those that this process may use.
    """
    if not config.loaders:
        return step.seconds + batch.seconds
    cores = cores or available_cores()
    return max(step.seconds, batch.seconds / config.loaders, config.devices * (step.cpu + batch.cpu) / cores)


def _batch_cost(training: Training, order: BatchOrder, done: int) -> Cost:
    costs = [_cost(partial(_batch, training, ids)) for ids in islice(order.after(done), BATCHES)]
    return _mean(costs[1:] or costs)


def _batch(training: Training, ids: Sequence[tuple[int, int]]) -> Batch:
    return collate([training.samples[number] for number in ids])


def _step_cost(training: Training, order: BatchOrder, done: int) -> Cost:
    """Mean cost of the steps that are left: its rounds of iterative clicks are drawn, and decide it."""
    config, method = training.config, training.method
    # One device's share of a batch.
    alone = replace(config, devices=1, batch=len(next(order.after(done))))
    rounds = [rounds_of(config, method, step, step / order.per_epoch) for step in range(done, order.steps)]
    fewest, most = (done + rounds.index(number) for number in (min(rounds), max(rounds)))
    fabric = fabric_of(alone)
    learning = freeze_others(training.network, training.trained)
    wrapped, optimizer = fabric.setup(training.network, method.optimizer(learning))
    batch = _batch(training, next(order.after(done)))

    def make(step: int) -> None:
        update(fabric, wrapped, optimizer, batch, step, step / order.per_epoch, method, alone)

    make(most)
    costs: dict[int, list[Cost]] = {fewest: [], most: []}
    began = time.perf_counter()
    for _ in range(REPEATS):
        for step, found in costs.items():
            found.append(_cost(partial(make, step)))
        if time.perf_counter() - began > SECONDS:
            break
    low, high = _mean(costs[fewest]), _mean(costs[most])
    share = (sum(rounds) / len(rounds) - min(rounds)) / max(1, max(rounds) - min(rounds))
    return Cost(low.seconds + share * (high.seconds - low.seconds), low.cpu + share * (high.cpu - low.cpu))


def _validation_seconds(prepared: Prepared) -> float:
    targets, config = prepared.validation, prepared.training.config
    if not targets:
        return 0.0
    predictor = PredictorConfig(threads=config.threads)
    network = prepared.training.network
    some = targets[1:VALIDATED] or targets
    validate(network, targets[:1], predictor)
    return _cost(partial(validate, network, some, predictor)).seconds * len(targets) / len(some)


def _cost(work: Callable[[], object]) -> Cost:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - began, time.process_time() - cpu)


def _mean(costs: Sequence[Cost]) -> Cost:
    return Cost(sum(cost.seconds for cost in costs) / len(costs), sum(cost.cpu for cost in costs) / len(costs))
