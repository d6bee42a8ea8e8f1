"""One forward of the click model: ``python -m benchmarks.bench_forward [--threads N] [--runs N]``.

Against the plain reference, and with LoRA merged against LoRA added to the weights in every forward. What is compared
runs in turns in one process, so that a busy machine slows all of it; medians are compared.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model, new_click_model
from agg_pipeline.models.simpleclick import attach_adapter, merge_lora
from benchmarks.reference import reference_forward


def alternate(calls: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """Median seconds of each call, run in turns after one warm-up turn."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(runs + 1):
        for call, kept in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                kept.append(time.perf_counter() - start)
    return [statistics.median(kept) for kept in times]


def against_reference(runs: int) -> None:
    """Print the times of the built-in model and of the plain reference."""
    print(f"{'input':>6} {'batch':>6} {'reference ms':>13} {'ours ms':>9} {'ratio':>6}")
    for size in (224, 448):
        model, _ = load_click_model(default_checkpoint(), size)
        state = model.state_dict()
        for batch in (1, 8):
            image, coords = torch.rand(2, batch, 3, size, size).unbind()
            with torch.inference_mode():
                plain, ours = alternate(
                    [lambda: reference_forward(model.arch, state, image, coords), lambda: model(image, coords)],  # noqa: B023
                    runs,
                )
            print(f"{size:>6} {batch:>6} {plain * 1e3:>13.1f} {ours * 1e3:>9.1f} {plain / ours:>6.2f}")


def merged_lora(runs: int) -> None:
    """Print the times of models with random weights, LoRA added in every forward and merged."""
    print(f"{'model':>6} {'input':>6} {'batch':>6} {'added ms':>9} {'merged ms':>10} {'ratio':>6}")
    for name, size, batches in (("xtiny", 224, (1, 8)), ("base", 448, (1,))):
        added = new_click_model(ARCHITECTURES[name], size, 0)
        adapter = Adapter(added.arch.dim, added.arch.depth)
        adapter.initialise(torch.Generator().manual_seed(0))
        attach_adapter(added, adapter)
        merged = copy.deepcopy(added)
        merge_lora(merged)
        for batch in batches:
            image, coords = torch.rand(2, batch, 3, size, size).unbind()
            with torch.inference_mode():
                slow, fast = alternate([lambda: added(image, coords), lambda: merged(image, coords)], runs)  # noqa: B023
            print(f"{name:>6} {size:>6} {batch:>6} {slow * 1e3:>9.1f} {fast * 1e3:>10.1f} {slow / fast:>6.2f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"float32, CPU, {options.threads} thread(s), medians of {options.runs} alternating runs")
    print("xtiny against the plain reference")
    against_reference(options.runs)
    print("LoRA")
    merged_lora(options.runs)


if __name__ == "__main__":
    main()
