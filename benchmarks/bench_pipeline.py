"""Share of model forwards in the busy time of the workers, and bytes per proposal, in a real run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.job import Progress
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.proposals.run import run
from schemas.presets import PRESETS


@click.command()
@click.option("--dataset", default="demo", show_default=True, help="Data set.")
@click.option("--data", default="", help="Root folder of the data set. Default: none, for the demo set.")
@click.option("--split", help="Split. Default: the data set's default split.")
@click.option("--images", default=32, show_default=True, help="Images to process.")
@click.option("--workers", default=1, show_default=True, help="Worker processes.")
def main(dataset: str, data: str, split: str | None, images: int, workers: int) -> None:
    """Run the built-in model and print both numbers."""
    config = PRESETS["paper"]
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(str(Path(folder) / "out"), limit_images=images, workers=workers)
        listed = open_dataset(dataset, data, split)
        summary = run(listed, str(default_checkpoint()), config, options, Progress())
    times, totals = summary.times, summary.manifest["totals"]
    busy = sum(times.stages.values())
    masks = sum(totals["proposals"].values())
    print(f"{dataset}, {totals['images']} images, {totals['objects']} objects, {masks} rows, {workers} worker(s)")
    for stage, seconds in times.stages.items():
        print(f"  {stage:<14}{seconds:8.2f} s")
    print(f"  model forwards {times.forwards:.2f} s: {times.forwards / busy:.3f} of the busy time")
    print(f"  {totals['bytes'] / masks:.0f} bytes per row, all tables and columns")


if __name__ == "__main__":
    main()
