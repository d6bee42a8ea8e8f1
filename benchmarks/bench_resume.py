"""A run over a database whose shards are all finished: seconds until it says that there is nothing to do.

``python -m benchmarks.bench_resume [--shards 20000 --shards 100000] [--folder F] [--verify]``: fabricated databases of
tiny Parquet files with real sidecars; no model is run. The second run finds the summaries that the first has written.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from agg_pipeline.database.contents import DATABASE, DATABASE_LAYOUT
from agg_pipeline.database.proposal_rows import tables, write_proposals
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.execution.job import Progress
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.run_workers import environment
from agg_pipeline.execution.shard_files import PLAN, checksum, publish, shard_name, sidecar_path
from agg_pipeline.models.backend import choose_device
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.models.model_files import describe_model
from agg_pipeline.proposals.run import run
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import ProposalsConfig
from schemas.crop import crop_mask
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord, ObjectMask, Reject
from schemas.resolve import on_device, override

LINKS = 10_000
"""Names of a file: file systems allow only so many."""
SIDE = 40


def toy_dataset(images: int) -> Dataset:
    """A data set that is listed but cannot be read."""
    about = About("toy", "Toy", ("object",), "a licence", "a citation", "a page", (), "")
    entries = tuple(ImageEntry(f"im_{n:08d}", f"img/im_{n:08d}.png", n, None) for n in range(images))
    return Dataset(about, "train", entries, "f" * 32, _read)


def _read(entry: ImageEntry) -> ImageRecord:
    mask = crop_mask(np.ones((SIDE, SIDE), bool), SIDE, SIDE)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    return ImageRecord(entry.image_id, entry.path, "0" * 64, "none", pixels, (ObjectMask(1, "cat", mask),))


def write_database(store: Store, dataset: Dataset, config: ProposalsConfig) -> None:
    """Plan, sidecars and files of finished shards; the files of all shards are the same."""
    _, described = describe_model(str(default_checkpoint()), "", None)
    plan = make_plan(DATABASE_LAYOUT, dataset, described, environment(choose_device(config.predictor.device)), config)
    store.write_json(PLAN, plan)
    record = _read(dataset.entries[0])
    summary = record.summary
    # No proposals: the files of all shards are the same, and a run would notice that their images are not the planned.
    images = len(plan["shards"][0])
    lost = [Reject(f"lost_{number}", None, None, "load", "unreadable_image") for number in range(1, images)]
    made = tables([summary], [], [], lost)
    sidecar = write_proposals(store, 0, images, stamp_of(DATABASE_LAYOUT, plan), made)
    publish(store, sidecar)
    for index in range(1, len(plan["shards"])):
        _write_twin(Path(store.url), index, sidecar)


def _write_twin(root: Path, index: int, sidecar: Json) -> None:
    files = {}
    for path, file in sidecar["files"].items():
        folder = path.split("/")[0]
        twin = f"{folder}/{shard_name(index)}.parquet"
        source = root / folder / f"{shard_name(index // LINKS * LINKS)}.parquet"
        if index % LINKS:
            os.link(source, root / twin)
        else:
            (root / twin).write_bytes((root / path).read_bytes())
        files[twin] = file
    twin_sidecar = sidecar | {"shard": index, "files": files}
    twin_sidecar["checksum"] = checksum(twin_sidecar)
    text = json.dumps(twin_sidecar, indent=1, sort_keys=True, ensure_ascii=False)
    (root / sidecar_path(index)).write_text(text + "\n")


@click.command()
@click.option("--shards", "sizes", multiple=True, type=int, default=(20_000, 100_000), show_default=True)
@click.option("--images-per-shard", default=8, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep the databases here, and use those that are there."
)
@click.option("--verify", is_flag=True, help="Hash every file.")
def main(sizes: tuple[int, ...], images_per_shard: int, folder: Path | None, verify: bool) -> None:
    """Write the databases that are missing, and run over each of them twice."""
    config = on_device(override(PRESETS["paper"], {"batch": {"images_per_shard": images_per_shard}}), "cpu")
    with tempfile.TemporaryDirectory() as temporary:
        for shards in sizes:
            out = (folder or Path(temporary)) / str(shards)
            dataset = toy_dataset(shards * images_per_shard)
            store = Store(str(out / DATABASE))
            if not out.exists():
                write_database(store, dataset, config)
            store.remove_all(DATABASE_LAYOUT.summaries)
            _run(dataset, config, RunOptions(str(out)), f"{shards} shards, summaries are missing")
            _run(dataset, config, RunOptions(str(out)), f"{shards} shards, summaries are there")
            if verify:
                _run(dataset, config, RunOptions(str(out), verify=True), f"{shards} shards, checksums")


def _run(dataset: Dataset, config: ProposalsConfig, options: RunOptions, what: str) -> None:
    told: list[str] = []
    clocks = time.perf_counter(), time.process_time()

    def passed() -> str:
        return f"{time.perf_counter() - clocks[0]:.1f} s (CPU {time.process_time() - clocks[1]:.1f} s)"

    progress = Progress(lambda _start: told.append(passed()))
    run(dataset, str(default_checkpoint()), config, options, progress)
    print(f"{what}: nothing to do after {told[0]}, the run ends after {passed()}", flush=True)


if __name__ == "__main__":
    main()
