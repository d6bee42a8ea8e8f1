"""Proposals per second against the authors' program: ``python -m benchmarks.bench_release [--size 448] [--images 6]``.

The schedule of their program is re-enacted: one object after the other, one forward and its mirror per click, one or
two estimator forwards, with the plain reference network. Crops, pasting and post-processing are those of this project,
which favours the other side. All sides take the same images and threads, in turns in one process; medians are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import cv2
import torch

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.backend import choose_device, set_backend_flags
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model
from agg_pipeline.proposals.pipeline import chain
from benchmarks.reference import PlainNetwork
from schemas.config import ProposalsConfig
from schemas.presets import PRESETS
from schemas.resolve import override


@dataclass(frozen=True)
class Side:
    """What is compared.

    Attributes:
        name: for the table.
        model: the predictor.
        config: configuration of the proposals.
    """

    name: str
    model: Predictor
    config: ProposalsConfig


@dataclass(frozen=True)
class Turn:
    """What one side has made of all images.

    Attributes:
        seconds: of all stages, without reading the images.
        forward_seconds: of these, in the network.
        proposals: parts and complements.
        forwards: (image, clicks) pairs that went through the network; a mirrored one counts.
    """

    seconds: float
    forward_seconds: float
    proposals: int
    forwards: int


def sides(size: int, device: str) -> list[Side]:
    """The re-enacted program first."""
    set_backend_flags()
    model, _ = load_click_model(default_checkpoint(), size)
    model = model.to(device)
    released, paper = PRESETS["released"], PRESETS["paper"]
    alone = override(released, {"batch": {"batch_objects": 1}})
    half = override(paper, {"predictor": {"dtype": "bfloat16"}})
    plain = Predictor(PlainNetwork(model), alone.predictor)  # type: ignore[arg-type]
    return [
        Side("authors' program, re-enacted", plain, alone),
        Side("released preset", Predictor(model, released.predictor), released),
        Side("paper preset", Predictor(model, paper.predictor), paper),
        Side("paper preset, bfloat16", Predictor(model, half.predictor), half),
    ]


def turn(side: Side, dataset: Dataset, images: int) -> Turn:
    """Send the images through all stages of a side."""
    first, *rest = chain(side.config).stages
    shard: Any = run_stages(
        [first], ShardTask(0, dataset.name, dataset.entries[:images], dataset.read, side.config), None
    )
    forward_seconds, forwards = side.model.forward_seconds, side.model.forwards
    began = time.perf_counter()
    shard = run_stages(rest, shard, side.model)
    seconds = time.perf_counter() - began
    spent = side.model.forward_seconds - forward_seconds
    return Turn(seconds, spent, len(shard.estimates), side.model.forwards - forwards)


def table(names: Sequence[str], turns: Sequence[Sequence[Turn]]) -> list[str]:
    """A Markdown table of the medians."""
    rates = [statistics.median(each.proposals / each.seconds for each in own) for own in turns]
    lines = [
        "| | proposals/s | times the first | forwards per proposal | share of forwards |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, own, rate in zip(names, turns, rates, strict=True):
        share = statistics.median(each.forward_seconds / each.seconds for each in own)
        per_proposal = own[0].forwards / own[0].proposals
        lines.append(f"| {name} | {rate:.2f} | {rate / rates[0]:.1f} | {per_proposal:.1f} | {share:.2f} |")
    return lines


@click.command()
@click.option("--size", default=448, show_default=True, help="Side of the network's input, pixels.")
@click.option("--images", default=6, show_default=True, help="Generated scenes.")
@click.option("--turns", default=3, show_default=True, help="Turns of each side.")
@click.option("--device", default="auto", show_default=True)
def main(size: int, images: int, turns: int, device: str) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chosen = choose_device(device)
    compared = sides(size, chosen.name)
    dataset = open_dataset("demo", "", str(images))
    made: list[list[Turn]] = [[] for _ in compared]
    for number in range(turns + 1):
        for side, own in zip(compared, made, strict=True):
            done = turn(side, dataset, images)
            # The first turn warms up.
            own.extend([done] if number else [])
    print(f"built-in model at {size} on {chosen}, one thread, {images} images; medians of {turns} turns\n")
    print("\n".join(table([side.name for side in compared], made)))


if __name__ == "__main__":
    main()
