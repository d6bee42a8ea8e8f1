"""Speed of evaluation in optimal mode beside a plain loop over the same predictor, and where its time goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch

import stages.evaluate as stage
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.evaluation.interactions import INTERACTIONS, EvaluationShard, load, starts_of
from agg_pipeline.execution.batch_pixels import pixels_of
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.checkpoints import default_checkpoint, load_adapter, load_click_model
from agg_pipeline.models.simpleclick import attach_adapter
from schemas.config import EvaluationConfig
from schemas.resolve import override
from stages.next_click import next_click

SEED = 5
"""Seed of the random granularity vectors."""
TABLE_SCALE = 0.5
"""Their standard deviation."""
FEW = 4
"""Masks over which the shares of the time are measured."""


class Stopwatch:
    """Adds up the seconds spent in functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time is added to ``name``."""

        def wrapped(*args: Any) -> Any:
            started = time.perf_counter()
            result = function(*args)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
            return result

        return wrapped


def plain_loop(loaded: EvaluationShard, model: Predictor, config: EvaluationConfig) -> list[float | None]:
    """Run one object and one granularity at a time, each interaction to its end; returns the chosen granularities."""
    chosen = []
    pixels = pixels_of(loaded)
    for target in loaded.targets:
        subject = target.subject(*pixels.of([target.image]))
        traces = []
        for start in starts_of(target, "", config):
            ((trace,),) = stage.evaluate([subject], [[start]], model, config.clicks)
            traces.append(trace)
        best = stage.best(traces, target.wanted_iou, config.clicks.max_clicks)
        chosen.append(traces[best].start.granularity)
    return chosen


def open_model(checkpoint: str, adapter: str, size: int, config: EvaluationConfig) -> Predictor:
    """Open the predictor.

    Args:
        checkpoint: file of the click model.
        adapter: file of the adapter; "" for one with small random granularity vectors and without LoRA.
        size: side of the network's input, pixels.
        config: configuration of the evaluation.
    """
    network, _ = load_click_model(checkpoint, size)
    if adapter:
        attach_adapter(network, load_adapter(adapter)[0])
    else:
        made = Adapter(network.arch.dim, network.arch.depth)
        made.initialise(torch.Generator().manual_seed(SEED))
        assert made.table is not None
        with torch.no_grad():
            made.table.mul_(TABLE_SCALE)
        attach_adapter(network, made)
    return Predictor(network, config.predictor)


@click.command()
@click.option("--dataset", default="demo", show_default=True, help="Data set.")
@click.option("--data", default="", help="Root folder of the data set. Default: none, for the demo set.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    default=default_checkpoint(),
    help="Click model. Default: the built-in model.",
)
@click.option("--adapter", default="", help="Adapter of the checkpoint. Default: random granularity vectors.")
@click.option("--objects", default=20, show_default=True, help="Objects to evaluate.")
@click.option("--max-clicks", default=20, show_default=True, help="Clicks after which an interaction ends.")
@click.option("--runs", default=3, show_default=True, help="Runs of both, in turns; the median ratio is printed last.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch.")
def main(
    dataset: str, data: str, checkpoint: Path, adapter: str, objects: int, max_clicks: int, runs: int, threads: int
) -> None:
    """Print objects per second of the evaluation and of the plain loop, and the shares of the time at 448."""
    torch.set_num_threads(threads)
    config = override(
        EvaluationConfig(),
        {
            "mode": "optimal",
            "level": "object",
            "clicks": {"max_clicks": max_clicks},
            "predictor": {"flip": False},
        },
    )
    listed = open_dataset(dataset, data, known_dataset(dataset).evaluation_split)
    task = ShardTask(
        0, dataset, listed.entries[:objects], listed.read, config, limit=objects, read_pixels=listed.pixels
    )
    loaded = load(task)
    model = open_model(str(checkpoint), adapter, 224, config)
    count, ratios = len(loaded.targets), []
    print(f"{count} objects of {dataset}, optimal mode, xtiny at 224, at most {max_clicks} clicks, {threads} thread(s)")
    for _ in range(runs):
        forwards = model.forwards
        started = time.perf_counter()
        done = run_stages([INTERACTIONS], loaded, model)
        ours, ours_forwards = time.perf_counter() - started, model.forwards - forwards
        started = time.perf_counter()
        plain_choice = plain_loop(loaded, model, config)
        plain, plain_forwards = time.perf_counter() - started, model.forwards - forwards - ours_forwards
        chosen = [each.attempts[each.chosen].start.granularity for each in done.outcomes]
        same = sum(a == b for a, b in zip(chosen, plain_choice, strict=True))
        ratios.append(plain / ours)
        print(
            f"  ours {count / ours:.3f} objects/s ({ours_forwards} forwards), plain loop {count / plain:.3f} "
            f"({plain_forwards}): {plain / ours:.2f}; the same granularity chosen for {same}"
        )
    print(f"  median ratio {statistics.median(ratios):.2f}")
    _shares(loaded, open_model(str(checkpoint), adapter, 448, config))


def _shares(loaded: EvaluationShard, model: Predictor) -> None:
    """Print where the time goes, for a few masks with a network at 448 and one thread."""
    torch.set_num_threads(1)
    watch = Stopwatch()
    few = replace(loaded, targets=loaded.targets[:FEW])
    with (
        patch.object(stage, "next_click", watch.timed("next click (distance transforms)", next_click)),
        patch.object(stage, "counted_iou", watch.timed("IoU", stage.counted_iou)),
        patch.object(model, "predict", watch.timed("predict", model.predict)),
    ):
        before = model.forward_seconds
        started = time.perf_counter()
        run_stages([INTERACTIONS], few, model)
        total = time.perf_counter() - started
    forward = model.forward_seconds - before
    seconds = watch.seconds
    around = seconds.pop("predict") - forward
    rest = total - forward - around - sum(seconds.values())
    print("shares of the time, xtiny at 448, one thread")
    shown = {"model forwards": forward, "crop, resize, paste": around, **seconds, "other book-keeping": rest}
    for name, value in shown.items():
        print(f"  {name:<36}{value / total:7.3f}")
    print(f"  distance transforms, IoU and book-keeping together {(rest + sum(seconds.values())) / total:.3f}")


if __name__ == "__main__":
    main()
