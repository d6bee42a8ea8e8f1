"""Peak memory of a run with one worker and the stub network: ``python -m benchmarks.bench_memory``.

200 and 2,000 demo images; two shards of 32 photographs of 24 megapixels; one photograph with 500 masks, and one of
12,000 x 9,000 pixels. The proposals of all are made, and the masks of the photographs are evaluated.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from shutil import copy

import click
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.evaluation import evaluation_tables
from agg_pipeline.evaluation.interactions import stages
from agg_pipeline.execution.chain import Chain
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.job import tasks_of
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.scheduling import run_shards
from agg_pipeline.execution.shard_files import PLAN, Stamp
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.proposals.pipeline import chain
from agg_pipeline.report.gallery import write_gallery
from agg_pipeline.storage.store import Store
from benchmarks.stub import StubNetwork, stub_predictor
from schemas.config import EvaluationConfig, ProposalsConfig
from schemas.resolve import override

MASKS = 500
"""Masks of the crowded photograph."""
HEIGHT, WIDTH = 2000, 3000
"""Size of the crowded photograph, pixels."""
EVALUATED = 50
"""Most masks that are evaluated."""
GIANT = 9000, 12000
"""Rows and columns of the giant photograph."""
LARGE = 4000, 6000
"""Rows and columns of the large photographs."""
LARGE_IMAGES = 64
"""Number of the large photographs: two shards, which one worker has in progress together."""
MODEL = {"architecture": "stub", "input_size": 224, "sha256": ""}
"""The stub network, as the plan of a database describes a model."""


def open_stub() -> Predictor:
    """Open the worker's predictor."""
    return stub_predictor(StubNetwork(224))


def peak_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_crowded(root: Path) -> None:
    """Write one photograph in COCO's layout: 500 overlapping ellipses whose boxes fill 1 to 25 % of it."""
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


def write_giant(root: Path) -> None:
    """Write one photograph with a mask image: three objects, the largest of 65 % of it."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    height, width = GIANT
    small = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(root / "images" / "giant.jpg")
    labels = np.zeros(GIANT, np.uint8)
    labels[1000:8000, 1000:11000] = 1
    labels[100:600, 100:600] = 2
    labels[8200:8900, 200:5000] = 3
    Image.fromarray(labels).save(root / "masks" / "giant.png")


def write_large(root: Path) -> None:
    """Write the large photographs, all alike, with a mask image of two objects each."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    height, width = LARGE
    small = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    first, mask = root / "images" / "image-00.jpg", root / "masks" / "image-00.png"
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(first)
    labels = np.zeros(LARGE, np.uint8)
    labels[1000:1800, 1000:1900] = 1
    labels[3000:3600, 4000:5000] = 2
    Image.fromarray(labels).save(mask)
    for number in range(1, LARGE_IMAGES):
        copy(first, first.with_name(f"image-{number:02}.jpg"))
        copy(mask, mask.with_name(f"image-{number:02}.png"))


def measure_proposals(dataset: Dataset, images: int, drawn: int) -> None:
    """Make the proposals of the first images, draw a gallery of some, and print the peak memory as JSON."""
    config = ProposalsConfig()
    tasks = tasks_of(dataset, config, config.batch.images_per_shard, images)
    with tempfile.TemporaryDirectory() as out:
        store = Store(out)
        plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, {}, config)
        store.write_json(PLAN, plan)
        with cluster(None, 1, 1, open_stub) as workers:
            finished = run_shards(workers, chain(config), tasks, store, stamp_of(DATABASE_LAYOUT, plan))
            rows = sum(sum(shard.sidecar["kinds"].values()) for shard in finished)
            (peak,) = workers.client.run(peak_mib).values()
        if drawn:
            write_gallery(open_proposals(out), dataset, store, "gallery.html", drawn, 0)
    print(json.dumps({"rows": rows, "worker": peak, "main": peak_mib()}))


def measure_evaluation(dataset: Dataset, images: int, mode: str) -> None:
    """Evaluate masks of the first images, interactions of two clicks each, and print the peak memory as JSON."""
    config = override(EvaluationConfig(), {"mode": mode, "clicks": {"max_clicks": 2}})
    tasks = tasks_of(dataset, config, config.batch.images_per_shard, images)
    tasks = [replace(task, limit=EVALUATED) for task in tasks]
    with tempfile.TemporaryDirectory() as out, cluster(None, 1, 1, open_stub) as workers:
        finished = run_shards(workers, Chain(stages(config), evaluation_tables.write), tasks, Store(out), Stamp("", {}))
        rows = sum(shard.sidecar["masks"] for shard in finished)
        (peak,) = workers.client.run(peak_mib).values()
    print(json.dumps({"rows": rows, "worker": peak, "main": peak_mib()}))


@click.command()
@click.option("--demo-images", type=int, help="Measure this number of demo images in this process.")
@click.option("--crowded", type=click.Path(path_type=Path), help="Measure the crowded photograph below this folder.")
@click.option("--giant", type=click.Path(path_type=Path), help="Measure the giant photograph below this folder.")
@click.option("--large", type=click.Path(path_type=Path), help="Measure the large photographs below this folder.")
@click.option("--evaluate", is_flag=True, help="Evaluate the masks instead of making proposals.")
def main(demo_images: int | None, crowded: Path | None, giant: Path | None, large: Path | None, evaluate: bool) -> None:
    """Print peak memory. Without options: of all cases, each in a process of its own."""
    if demo_images is not None:
        measure_proposals(open_dataset("demo", "", "large"), demo_images, 0)
        return
    if crowded is not None or giant is not None or large is not None:
        opened = (
            open_dataset("coco", str(crowded), "crowd")
            if crowded
            else open_dataset("folder", str(giant or large), "all")
        )
        images = LARGE_IMAGES if large else 1
        if evaluate:
            measure_evaluation(opened, images, "none" if large else "optimal")
        else:
            measure_proposals(opened, images, 1)
        return
    few, many = (_case("--demo-images", str(images)) for images in (200, 2000))
    _tell("200 demo images", few)
    _tell("2,000 demo images", many)
    print(f"  ratio {many['worker'] / few['worker']:.3f} and {many['main'] / few['main']:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        write_large(Path(folder))
        _tell("{} images of {}x{} with 2 masks".format(LARGE_IMAGES, *LARGE), _case("--large", folder))
        _tell("  their evaluation", _case("--large", folder, "--evaluate"))
    with tempfile.TemporaryDirectory() as folder:
        write_crowded(Path(folder))
        _tell(f"one image of {HEIGHT}x{WIDTH} with {MASKS} masks", _case("--crowded", folder))
        _tell("  its evaluation", _case("--crowded", folder, "--evaluate"))
    with tempfile.TemporaryDirectory() as folder:
        write_giant(Path(folder))
        _tell("one image of {}x{} with 3 masks".format(*GIANT), _case("--giant", folder))
        _tell("  its evaluation", _case("--giant", folder, "--evaluate"))


def _tell(what: str, case: dict[str, float]) -> None:
    print(f"{what}: worker {case['worker']:.0f} MiB, main process {case['main']:.0f} MiB, {case['rows']:.0f} rows")


def _case(*options: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_memory", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
