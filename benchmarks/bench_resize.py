"""Bilinear resizing of one map, ours and torch's in turns, one thread: ``python -m benchmarks.bench_resize``."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from agg_pipeline.inference.resizing import resized
from benchmarks.bench_forward import alternate

SIZES = (((224, 224), (375, 500)), ((375, 500), (224, 224)), ((448, 448), (375, 500)))
RUNS = 101


def main() -> None:
    """Print medians for maps as the predictor resizes them."""
    torch.set_num_threads(1)
    print(f"{'from':>10} {'to':>10} {'torch us':>9} {'ours us':>8} {'ratio':>6}")
    for size, target in SIZES:
        given = torch.rand(size)
        values = given.numpy()
        theirs, ours = alternate(
            [
                lambda: F.interpolate(given[None, None], size=target, mode="bilinear", align_corners=True),  # noqa: B023
                lambda: torch.from_numpy(resized(values, *target)),  # noqa: B023
            ],
            RUNS,
        )
        names = (f"{rows}x{cols}" for rows, cols in (size, target))
        print("{:>10} {:>10}".format(*names), f"{theirs * 1e6:>9.0f} {ours * 1e6:>8.0f} {theirs / ours:>6.2f}")


if __name__ == "__main__":
    main()
