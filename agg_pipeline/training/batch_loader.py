"""Feeding the loop: processes that prepare batches ahead (DataLoader), and what happens when one of them fails."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
from torch.utils.data import DataLoader, Dataset

from agg_pipeline.training.batch_order import BatchOrder
from agg_pipeline.training.training_batch import Batch, collate
from agg_pipeline.training.training_checkpoint import HOW_TO_RESUME
from agg_pipeline.training.training_errors import message_of_traceback
from agg_pipeline.training.training_sample import Sample
from schemas.errors import UserError

KILLED = f"a process that prepares samples was killed, perhaps because memory ran out; {HOW_TO_RESUME}"
PREFETCHED = 4
"""Batches that each process prepares ahead."""


def load_batches(samples: Dataset[Sample], order: BatchOrder, step: int, loaders: int) -> Iterator[Batch]:
    """Start to prepare the batches that follow the first ``step`` batches.

    Args:
        samples: samples by (epoch, number); pickled if there are processes to send it to.
        order: which samples form which batch.
        step: batches to skip.
        loaders: processes that prepare batches; 0 to prepare them in this one.

    Returns:
        The batches in order; take them with ``next_batch``.
    """
    before = signal.getsignal(signal.SIGCHLD)
    loader = iter(
        DataLoader(
            samples,
            batch_sampler=_After(order, step),
            num_workers=loaders,
            collate_fn=collate,
            worker_init_fn=_start_loader,
            multiprocessing_context="spawn" if loaders else None,
            prefetch_factor=PREFETCHED if loaders else None,
        )
    )
    # torch's handler would raise the error of a killed process at any place; without it, the next batch fails.
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
    return loader


def next_batch(loader: Iterator[Batch]) -> Batch:
    """Take the next batch.

    Raises:
        UserError: a sample cannot be made, or a process that prepares samples was killed.
    """
    try:
        return next(loader)
    except UserError as error:
        # An error of another process comes with that process's traceback.
        raise type(error)(message_of_traceback(str(error))) from error
    except (ConnectionError, EOFError) as error:
        raise UserError(KILLED) from error
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(KILLED) from error


@dataclass(frozen=True)
class _After:
    """The batches after a step; DataLoader iterates over it."""

    order: BatchOrder
    step: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.order.after(self.step)


def _start_loader(_number: int) -> None:
    cv2.setNumThreads(1)
