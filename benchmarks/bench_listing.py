"""Listing a data set of a million images: seconds and memory, in a fresh process.

``python -m benchmarks.bench_listing [--images N] [--folder F]`` lists a tree of empty files in SA-1B's layout.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

LIST = """
import resource, sys, time
from agg_pipeline.datasets.registry import open_dataset
started = time.perf_counter()
images = len(open_dataset("sa1b", sys.argv[1], "all").entries)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{images} images listed in {time.perf_counter() - started:.1f} s, peak memory {peak:.0f} MiB")
"""


def write_tree(root: Path, images: int) -> None:
    """Write empty files in SA-1B's layout below ``root``."""
    for folder, ending in (("images", "jpg"), ("annotations", "json")):
        (root / folder).mkdir(parents=True)
        for number in range(images):
            (root / folder / f"sa_{number}.{ending}").touch()


@click.command()
@click.option("--images", default=1_000_000, show_default=True, help="Images of the tree.")
@click.option("--folder", type=click.Path(path_type=Path), help="An existing tree. Default: a temporary one.")
def main(images: int, folder: Path | None) -> None:
    """List a tree, and print seconds and peak memory."""
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary)
            write_tree(folder, images)
        subprocess.run([sys.executable, "-c", LIST, str(folder)], check=True)


if __name__ == "__main__":
    main()
