"""Peak memory of a worker process: 200 and 2,000 demo images, and one photograph with 200 masks; stub network."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.job import tasks_of
from agg_pipeline.execution.scheduling import run_shards
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.proposals.pipeline import chain
from agg_pipeline.storage.store import Store
from benchmarks.stub import StubNetwork, stub_predictor
from schemas.config import ProposalsConfig

MASKS = 200
"""Masks of the crowded photograph."""
HEIGHT, WIDTH = 1500, 2250
"""Size of the crowded photograph, pixels."""


def open_stub() -> Predictor:
    """Open the worker's predictor."""
    return stub_predictor(StubNetwork(224))


def peak_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_crowded(root: Path) -> None:
    """Write one photograph in COCO's layout: 200 overlapping ellipses whose boxes fill 1 to 25 % of it."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    annotations = []
    for number in range(MASKS):
        half = np.sqrt(rng.uniform(0.01, 0.25)) / 2
        row, col = rng.uniform(half, 1 - half, 2)
        mask = np.square((rows / HEIGHT - row) / half) + np.square((cols / WIDTH - col) / half) <= 1
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        segmentation = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}
        annotations.append({"id": number + 1, "image_id": 1, "segmentation": segmentation})
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    image = {"id": 1, "file_name": "crowd.png", "height": HEIGHT, "width": WIDTH}
    (root / "annotations" / "instances_crowd.json").write_text(
        json.dumps({"images": [image], "annotations": annotations})
    )
    Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(root / "images" / "crowd.png")


def measure(dataset: Dataset, images: int) -> None:
    """Run the first images with one worker and print its peak memory as JSON."""
    config = ProposalsConfig()
    tasks = tasks_of(dataset, config, config.batch.images_per_shard, images)
    with tempfile.TemporaryDirectory() as out, cluster(None, 1, 1, open_stub) as workers:
        finished = run_shards(workers, chain(config), tasks, Store(out), "")
        rows = sum(sum(shard.sidecar["kinds"].values()) for shard in finished)
        (peak,) = workers.client.run(peak_mib).values()
    print(json.dumps({"rows": rows, "worker": peak, "main": peak_mib()}))


@click.command()
@click.option("--demo-images", type=int, help="Measure this number of demo images in this process.")
@click.option("--crowded", type=click.Path(path_type=Path), help="Measure the crowded photograph below this folder.")
def main(demo_images: int | None, crowded: Path | None) -> None:
    """Print peak memory. Without options: of all cases, each in a process of its own."""
    if demo_images is not None:
        measure(open_dataset("demo", "", "large"), demo_images)
        return
    if crowded is not None:
        measure(open_dataset("coco", str(crowded), "crowd"), 1)
        return
    few, many = (_case("--demo-images", str(images)) for images in (200, 2000))
    print(
        f"200 demo images: worker {few['worker']:.0f} MiB, main process {few['main']:.0f} MiB, {few['rows']:.0f} rows"
    )
    print(f"2,000 demo images: worker {many['worker']:.0f} MiB, main process {many['main']:.0f} MiB")
    print(f"  ratio {many['worker'] / few['worker']:.3f} and {many['main'] / few['main']:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        write_crowded(Path(folder))
        crowd = _case("--crowded", folder)
    print(
        f"one image of {HEIGHT}x{WIDTH} with {MASKS} masks: worker {crowd['worker']:.0f} MiB, {crowd['rows']:.0f} rows"
    )


def _case(*options: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_memory", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
