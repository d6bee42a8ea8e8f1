"""``agg view`` on a synthetic database of a million masks: time until it is ready, and of each filter.

``python -m benchmarks.bench_view [--masks 1000000] [--images 40000] [--folder F] [--rounds 5]``: the server is a
process of its own. A folder keeps the database, and one that is in it is used again. Prints a table in Markdown.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import click
import psutil

from benchmarks.calibration import speed_of_python
from benchmarks.synthetic_database import write_database

FILTERS = {
    "no filter": {},
    "kinds": {"kinds": ["part", "complement"]},
    "granularity": {"low": 0.3, "high": 0.6},
    "area": {"smallest": 2000, "largest": 20000},
    "class": {"categories": ["blob"]},
    "part of the image id": {"search": "0123"},
    "order: largest mask": {"sort": "largest"},
    "kind, granularity and order": {"kinds": ["part"], "low": 0.2, "high": 0.4, "sort": "most"},
    "the last page": {"offset": 39_000},
}
"""Requests by what they ask for."""


def _ask(address: str, body: bytes | None = None) -> tuple[bytes, float]:
    """An answer, and seconds until it was there."""
    began = time.perf_counter()
    with urllib.request.urlopen(address, body) as answer:
        content = answer.read()
    return content, time.perf_counter() - began


def _row(what: str, seconds: float) -> None:
    print(f"| {what} | {seconds:.2f} s |" if seconds >= 1 else f"| {what} | {1000 * seconds:.0f} ms |", flush=True)


@click.command()
@click.option("--masks", default=1_000_000, show_default=True)
@click.option("--images", type=int, help="Number of images; a 25th of the masks by default.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keeps the database; a temporary one by default.")
@click.option("--rounds", default=5, show_default=True, help="Answers per filter.")
def main(masks: int, images: int | None, folder: Path | None, rounds: int) -> None:
    """Make the database if it is missing, measure, and print a table."""
    with tempfile.TemporaryDirectory() as temporary:
        database = (folder or Path(temporary)) / "whole"
        if not (database / "manifest.json").exists():
            write_database(str(database), masks, images or masks // 25)
        print(f"| agg view; 20 million additions take {speed_of_python():.2f} s | |\n| --- | --- |")
        began = time.perf_counter()
        # What every command costs, before it does anything of its own.
        subprocess.run([sys.executable, "-m", "agg_pipeline.cli", "view", "--help"], check=True, capture_output=True)
        _row("start of the command: agg view --help", time.perf_counter() - began)
        _measure(str(database), rounds)


def _measure(database: str, rounds: int) -> None:
    command = [sys.executable, "-m", "agg_pipeline.cli", "view", database, "--port", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        content, seconds = _ask(f"{address}api/facts")
        _row("start until the facts of the page are there", time.perf_counter() - began)
        _row("of these, the facts", seconds)
        (facts,) = json.loads(content)["databases"]
        for what, wanted in FILTERS.items():
            body = json.dumps(wanted).encode()
            _row(what, statistics.median(_ask(f"{address}api/0/images", body)[1] for _ in range(rounds)))
        first = json.loads(_ask(f"{address}api/0/images", b"{}")[0])["images"][0]["id"]
        _row("a thumbnail", statistics.median(_ask(f"{address}api/0/tile?id={first}")[1] for _ in range(rounds)))
        memory = psutil.Process(process.pid).memory_info().rss / 2**20
        print(f"| memory, {facts['masks']:,} masks of {facts['images']:,} images | {memory:.0f} MiB |")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
