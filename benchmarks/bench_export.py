"""Time one forward of the built-in model, by torch and from exported files, in turns in one process.

``python -m benchmarks.bench_export`` needs the extra ``onnx``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from agg_pipeline.models.checkpoints import default_adapter, default_checkpoint
from agg_pipeline.models.exported import OUTPUT, ClickFunction, example_inputs, write_int8_onnx, write_onnx
from agg_pipeline.models.model_files import open_model
from agg_pipeline.models.simpleclick import merge_lora

Run = Callable[[], NDArray[np.float32]]


def runs(batch: int, folder: Path) -> dict[str, Run]:
    """One forward each of torch, the ONNX file and the int8 file, on the same noise."""
    network, _, _ = open_model(default_checkpoint(), default_adapter(), None)
    merge_lora(network)
    given = example_inputs(network, batch)
    given["image"] = torch.rand(given["image"].shape, generator=torch.Generator().manual_seed(0))
    function, fed = ClickFunction(network.eval()), {name: each.numpy() for name, each in given.items()}

    def by_torch() -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = function(**given).numpy()
        return found

    made: dict[str, Run] = {"torch": by_torch}
    for name, write in (("ONNX", write_onnx), ("ONNX, int8", write_int8_onnx)):
        path = folder / f"{name}.onnx"
        write(network, path)
        made[name] = _session(path, fed)
    return made


def _session(path: Path, fed: dict[str, NDArray[np.float32]]) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run() -> NDArray[np.float32]:
        (found,) = session.run([OUTPUT], fed)
        return np.asarray(found)

    return run


@click.command()
@click.option("--batch", default=1, show_default=True, help="Images per forward.")
@click.option("--turns", default=25, show_default=True, help="Forwards of each.")
def main(batch: int, turns: int) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = runs(batch, Path(folder))
        exact = made["torch"]()
        spent: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(turns):
            for name, run in made.items():
                began = time.perf_counter()
                run()
                spent[name].append(time.perf_counter() - began)
        print("| | ms | times torch's | largest difference | mean difference | MB |\n" + "|" + " --- |" * 6)
        base = statistics.median(spent["torch"])
        for name, run in made.items():
            apart, median = np.abs(run() - exact), statistics.median(spent[name])
            path = Path(folder) / f"{name}.onnx"
            size = f"{path.stat().st_size / 1e6:.1f}" if path.exists() else ""
            differences = f"{apart.max():.1g} | {apart.mean():.1g}"
            print(f"| {name} | {1e3 * median:.1f} | {median / base:.2f} | {differences} | {size} |")


if __name__ == "__main__":
    main()
