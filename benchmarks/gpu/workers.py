"""Several processes that make proposals on one device, as the workers of a run do."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import cv2
import torch

from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.backend import set_backend_flags
from benchmarks.gpu.busy import busy_share
from benchmarks.gpu.scenes import CostlyNetwork, gibibytes, proposals, scenes
from schemas.config import ProposalsConfig
from schemas.presets import PRESETS
from schemas.records import Proposal
from schemas.resolve import override

START_SECONDS = 120.0
Masks = dict[tuple[str, int, str, int], tuple[int, float]]
"""Area and granularity of masks, by image, object, kind and step."""


@dataclass(frozen=True)
class Load:
    """What the processes do.

    Attributes:
        architecture: the network whose forwards are paid for.
        size: side of its input, pixels.
        arithmetic: float32, TF32 or bfloat16.
        batch_objects: objects of a batch.
        images: scenes of each process.
        device: cpu or cuda.
        released: whether the authors' program is re-enacted: preset ``released``, one object at a time, and the
            reference network.
    """

    architecture: str
    size: int
    arithmetic: str
    batch_objects: int
    images: int
    device: str
    released: bool = False


@dataclass(frozen=True)
class Done:
    """What one process has done.

    Attributes:
        masks: what was made.
        forwards: (image, clicks) pairs.
        began, ended: by the clock that all processes of a machine share.
        gib: most memory of the device.
    """

    masks: Masks
    forwards: int
    began: float
    ended: float
    gib: float


@dataclass(frozen=True)
class Turn:
    """What several processes have done at the same time.

    Attributes:
        workers: number of processes.
        load: what each of them did.
        proposals: parts and complements a second.
        forwards: (image, clicks) pairs a second.
        busy: share of the time in which the device computed; None if that is not known.
        gib: most memory of the device, all processes.
        masks: what was made.
    """

    workers: int
    load: Load
    proposals: float
    forwards: float
    busy: float | None
    gib: float
    masks: Masks


def turn(workers: int, load: Load) -> Turn:
    """Let several processes make proposals of scenes, together as many for any number of processes."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    pipes, processes = [], []
    for number in range(workers):
        here, there = context.Pipe(duplex=False)
        numbers = range(number, load.images, workers)
        processes.append(context.Process(target=_work, args=(load, numbers, barrier, there)))
        processes[-1].start()
        there.close()
        pipes.append(here)
    barrier.wait(START_SECONDS)
    with busy_share() as share:
        done: list[Done] = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    seconds = max(each.ended for each in done) - min(each.began for each in done)
    masks = {key: facts for each in done for key, facts in each.masks.items()}
    return Turn(
        workers,
        load,
        len(masks) / seconds,
        sum(each.forwards for each in done) / seconds,
        share() if load.device == "cuda" else None,
        sum(each.gib for each in done),
        masks,
    )


def _work(load: Load, numbers: range, barrier: Barrier, parent: Connection) -> None:
    try:
        parent.send(_done(load, numbers, barrier))
    except BaseException:
        # The others and the parent do not wait any longer.
        barrier.abort()
        raise


def _done(load: Load, numbers: range, barrier: Barrier) -> Done:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    set_backend_flags()
    if load.arithmetic == "TF32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    dtype = "bfloat16" if load.arithmetic == "bfloat16" else "float32"
    config: ProposalsConfig = override(
        PRESETS["released" if load.released else "paper"],
        {"predictor": {"dtype": dtype}, "batch": {"batch_objects": load.batch_objects}},
    )
    network = CostlyNetwork(load.architecture, load.size, load.device, load.released)
    model = Predictor(network, config.predictor)  # type: ignore[arg-type]
    drawn = scenes(numbers)
    # One scene to warm up: kernels are chosen, and memory is taken.
    proposals(scenes(numbers[:1]), model, config)
    forwards = model.forwards
    barrier.wait(START_SECONDS)
    began = time.monotonic()
    made = proposals(drawn, model, config)
    ended = time.monotonic()
    masks: Masks = {}
    for each in made:
        part = each.query.part
        assert isinstance(part, Proposal)
        image, instance = each.query.target.key
        masks[image, instance, each.query.kind, part.step] = int(each.mask.values.sum()), each.granularity
    return Done(masks, model.forwards - forwards, began, ended, gibibytes(load.device))


def same_share(one: Turn, other: Turn, granularity: float = 0.02, area: float = 0.01) -> float:
    """Share of one turn's masks that the other has as well, with nearly the same area and granularity."""
    same = 0
    for key, (pixels, value) in one.masks.items():
        theirs = other.masks.get(key)
        if theirs is not None:
            same += abs(theirs[0] - pixels) <= area * pixels and abs(theirs[1] - value) <= granularity
    return same / max(1, len(one.masks))
