"""Batches: which samples form them, and the processes that prepare them ahead of the loop."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from agg_pipeline.datasets.all_cores import start_tracker
from agg_pipeline.training.training_errors import HOW_TO_RESUME, sendable
from agg_pipeline.training.training_sample import Sample
from schemas.errors import UserError
from schemas.records import Click
from schemas.training import TrainingConfig
from stages.draws import generator

KILLED = f"a process that prepares samples was killed, perhaps because memory ran out; {HOW_TO_RESUME}"
SILENT_SECONDS = 600.0
"""Longest time to wait for a batch of other processes."""
SILENT = (
    f"the processes that prepare samples have given no batch for {SILENT_SECONDS:.0f} s; try --loaders 0, and "
    f"{HOW_TO_RESUME}"
)
PREFETCHED = 4
"""Batches that each process prepares ahead."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples of side S.

    Attributes:
        pixels: (B, S, S, 3) uint8 RGB.
        target: (B, S, S) int8; 1 object, 0 background, -1 ignored.
        prompt: (B, S, S) bool, the mask prompts.
        clicks: clicks per sample.
        rows: (B,) int64, rows of the granularity table; -1 for none.
    """

    pixels: Tensor
    target: Tensor
    prompt: Tensor
    clicks: tuple[tuple[Click, ...], ...]
    rows: Tensor

    def __len__(self) -> int:
        return len(self.clicks)

    def part(self, start: int, stop: int) -> Batch:
        """The samples from ``start`` to before ``stop``."""
        own = slice(start, stop)
        return Batch(self.pixels[own], self.target[own], self.prompt[own], self.clicks[own], self.rows[own])

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU can copy while the CPU goes on."""
        pixels, target, prompt = (each.pin_memory() for each in (self.pixels, self.target, self.prompt))
        return replace(self, pixels=pixels, target=target, prompt=prompt)


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples of the same size side by side."""
    return Batch(
        torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        torch.from_numpy(np.stack([sample.target for sample in samples])),
        torch.from_numpy(np.stack([sample.prompt for sample in samples])),
        tuple(sample.clicks for sample in samples),
        torch.tensor([sample.row for sample in samples]),
    )


@dataclass(frozen=True)
class _Caught:
    """Samples of another process, or the errors of making them, which are raised in the process of the training."""

    samples: Dataset[Sample]

    def __getitem__(self, number: tuple[int, int]) -> Sample | Exception:
        try:
            return self.samples[number]
        except UserError as error:
            return sendable(error)
        except OSError as error:
            return error


def _collate_caught(samples: Sequence[Sample | Exception]) -> Batch | Exception:
    """A batch, or the first error among its samples."""
    good = [sample for sample in samples if not isinstance(sample, Exception)]
    return collate(good) if len(good) == len(samples) else next(each for each in samples if isinstance(each, Exception))


@dataclass(frozen=True)
class BatchOrder:
    """The batches of all epochs, as lists of (epoch, number of the sample in the epoch).

    Attributes:
        samples: samples per epoch.
        config: seed, epochs and size of a batch.
        rank: number of this process, from 0.
        ranks: processes that share each batch.
    """

    samples: int
    config: TrainingConfig
    rank: int = 0
    ranks: int = 1

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.per_epoch * self.config.epochs

    @property
    def per_epoch(self) -> int:
        """Steps per epoch: each sample once; the epoch's first samples fill up its last batch."""
        return -(-self.samples // self.config.batch)

    def epoch_of(self, step: int) -> int:
        """Epoch of a step; both count from 0."""
        return step // self.per_epoch

    def after(self, step: int) -> Iterator[list[tuple[int, int]]]:
        """This process's share of the batches that follow the first ``step`` batches."""
        size = self.config.batch
        for epoch in range(self.epoch_of(step), self.config.epochs):
            order = generator(self.config.seed, "order", epoch).permutation(self.samples)
            order = np.resize(order, self.per_epoch * size)
            first = step - epoch * self.per_epoch if epoch == self.epoch_of(step) else 0
            for number in range(first, self.per_epoch):
                whole = order[number * size : (number + 1) * size]
                yield [(epoch, int(sample)) for sample in whole[self.rank :: self.ranks]]


def load_batches(
    samples: Dataset[Sample], order: BatchOrder, step: int, loaders: int, pinned: bool = False
) -> Iterator[Batch | Exception]:
    """Start to prepare the batches that follow the first ``step`` batches.

    Args:
        samples: samples by (epoch, number); pickled if there are processes to send it to.
        order: which samples form which batch.
        step: batches to skip.
        loaders: processes that prepare batches; 0 to prepare them in this one.
        pinned: whether batches lie in memory that a GPU can copy while the CPU goes on.

    Returns:
        The batches in order, or errors of other processes; take them with ``next_batch``.
    """
    before = signal.getsignal(signal.SIGCHLD)
    with terminal_ignored() if loaders else nullcontext():
        loader = iter(
            DataLoader(
                cast("Dataset[Any]", _Caught(samples) if loaders else samples),
                batch_sampler=_After(order, step),
                num_workers=loaders,
                collate_fn=_collate_caught if loaders else collate,
                pin_memory=pinned,
                worker_init_fn=_start_loader,
                multiprocessing_context="spawn" if loaders else None,
                prefetch_factor=PREFETCHED if loaders else None,
            )
        )
    # torch's handler would raise the error of a killed process at any place; without it, the next batch fails.
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
    return loader


@contextmanager
def terminal_ignored() -> Iterator[None]:
    """Keep Ctrl-C and a closed terminal from the processes that start here; SIGTERM ends them."""
    start_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def next_batch(loader: Iterator[Batch | Exception]) -> Batch:
    """Take the next batch.

    Raises:
        UserError: a sample cannot be made, or a process that prepares samples was killed or hangs.
        StorageError: a file of a sample cannot be read now.
    """
    with _loaders_killed_after(SILENT_SECONDS) as silent:
        try:
            batch = next(loader)
        except (ConnectionError, EOFError) as error:
            raise UserError(SILENT if silent() else KILLED) from error
        except RuntimeError as error:
            if "DataLoader worker (pid" in str(error):
                raise UserError(SILENT if silent() else KILLED) from error
            raise
    if isinstance(batch, Exception):
        raise batch
    return batch


@contextmanager
def _loaders_killed_after(seconds: float) -> Iterator[Callable[[], bool]]:
    """Kill the processes that prepare samples if the block takes longer; yields what tells whether that was done.

    torch waits without an end for a process that hangs, and at some places without looking whether it lives.
    """
    killed: list[BaseProcess] = []

    def kill() -> None:
        # The process of a training has no others.
        killed.extend(multiprocessing.active_children())
        for process in killed:
            process.kill()

    watchdog = threading.Timer(seconds, kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield lambda: bool(killed)
    finally:
        watchdog.cancel()


@dataclass(frozen=True)
class _After:
    """The batches after a step; DataLoader iterates over it."""

    order: BatchOrder
    step: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.order.after(self.step)


def _start_loader(_number: int) -> None:
    cv2.setNumThreads(1)
