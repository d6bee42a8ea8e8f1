"""One forward of xtiny against the plain reference: ``python -m benchmarks.bench_forward [--threads N] [--runs N]``.

Both run in the same process in turns, so that a busy machine slows both; medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"xtiny, float32, CPU, {options.threads} thread(s), medians of {options.runs} alternating runs")
    print(f"{'input':>6} {'batch':>6} {'reference ms':>13} {'ours ms':>9} {'ratio':>6}")
    for size in (224, 448):
        model, _ = load_click_model(default_checkpoint(), size)
        state = model.state_dict()
        for batch in (1, 8):
            image, coords = torch.rand(2, batch, 3, size, size).unbind()
            with torch.inference_mode():
                plain, ours = alternate(
                    [lambda: reference_forward(model.arch, state, image, coords), lambda: model(image, coords)],  # noqa: B023
                    options.runs,
                )
            print(f"{size:>6} {batch:>6} {plain * 1e3:>13.1f} {ours * 1e3:>9.1f} {plain / ours:>6.2f}")


if __name__ == "__main__":
    main()
