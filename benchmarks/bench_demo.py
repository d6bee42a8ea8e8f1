"""``agg demo`` under load: the first page, one visitor, twenty visitors at once, and memory over many clicks.

``python -m benchmarks.bench_demo [--rounds 20] [--visitors 20] [--clicks 2000]``: the server is a process of its own on
one core, with the built-in model. Prints a table in Markdown; ends with exit code 1 if a request fails.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
import psutil

from benchmarks.calibration import speed_of_python
from schemas.canonical import Json
from schemas.numbers import GRANULARITIES

PATIENCE = 120
"""Seconds that a request may take."""


class Visitor:
    """A visitor with an image of the demo.

    Args:
        address: of the server.
        number: decides the image and the places of the clicks.
        names: images of the page.
    """

    def __init__(self, address: str, number: int, names: Sequence[str]) -> None:
        self._address, self._number, self._made = address, number, 0
        image = _json(f"{address}api/images?name={names[number % len(names)]}", b"")
        self._key, self.height, self.width = image["key"], image["height"], image["width"]

    def click(self, granularities: Sequence[float]) -> float:
        """Make one click on a new place of a new object; seconds until its masks are there."""
        self._made += 1
        place = 7919 * (31 * self._number + self._made)
        clicks = [[place % self.height, place // self.height % self.width, True]]
        body = json.dumps({"clicks": clicks, "granularities": list(granularities), "urgent": True}).encode()
        began = time.perf_counter()
        masks = _json(f"{self._address}api/images/{self._key}/masks", body)["masks"]
        seconds = time.perf_counter() - began
        assert len(masks) == len(granularities)
        return seconds


@contextmanager
def server(core: int | None) -> Iterator[tuple[str, psutil.Process, float]]:
    """A server of generated scenes: its address, its process, and seconds until it answers."""
    command = [sys.executable, "-m", "agg_pipeline.cli", "demo", "--device", "cpu", "--port", "0", "--split", "24"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        found = psutil.Process(process.pid)
        if core is not None:
            found.cpu_affinity([core])
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        yield address, found, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def page_weight(address: str) -> tuple[int, float]:
    """Bytes of the page, its styles and its programs, and seconds until all were there."""
    began = time.perf_counter()
    page = _read(address)
    total, seen = len(page), set()
    waiting = re.findall(rb'(?:href|src)="(/[^"]+)"', page)
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        content = _read(address.rstrip("/") + path.decode())
        total += len(content)
        waiting += re.findall(rb'from "(/static/[^"]+)"', content)
    return total, time.perf_counter() - began


def crowd(visitors: Sequence[Visitor], clicks: int) -> tuple[list[float], int]:
    """Let all visitors click at once; the median waiting time of each in seconds, and the number of errors."""
    waited: list[list[float]] = [[] for _ in visitors]
    errors = 0

    def work(number: int) -> None:
        nonlocal errors
        for _ in range(clicks):
            try:
                waited[number].append(visitors[number].click([1.0]))
            except (OSError, AssertionError, KeyError):
                errors += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(visitors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [statistics.median(each) for each in waited if each], errors


def _read(address: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(address, body), timeout=PATIENCE) as answer:
        content: bytes = answer.read()
    return content


def _json(address: str, body: bytes) -> Json:
    found: Json = json.loads(_read(address, body))
    return found


def _row(what: str, value: str) -> None:
    print(f"| {what} | {value} |", flush=True)


@click.command()
@click.option("--rounds", default=20, show_default=True, help="Clicks of the single visitor, of each kind.")
@click.option("--visitors", default=20, show_default=True, help="Visitors at once.")
@click.option("--each", default=5, show_default=True, help="Clicks of each of them.")
@click.option("--clicks", default=2000, show_default=True, help="Clicks of the measurement of memory.")
def main(rounds: int, visitors: int, each: int, clicks: int) -> None:
    """Measure, and print a table."""
    print(f"| agg demo, one core; 20 million additions take {speed_of_python():.2f} s | |\n| --- | --- |")
    with server(min(os.sched_getaffinity(0))) as (address, process, started):
        _row("start of the process until the server answers", f"{started:.1f} s")
        weight, seconds = page_weight(address)
        _row("page, styles and programs, without images", f"{weight / 1024:.0f} KiB in {1000 * seconds:.0f} ms")
        names = json.loads(_read(f"{address}api/facts"))["images"]
        one = Visitor(address, 0, names)
        one.click([1.0])
        for what, granularities in (("the chosen granularity", [1.0]), ("all ten", GRANULARITIES)):
            median = statistics.median(one.click(granularities) for _ in range(rounds))
            _row(f"click to mask, {what}: median of {rounds}", f"{1000 * median:.0f} ms")
        medians, errors = crowd([Visitor(address, number, names) for number in range(visitors)], each)
        _row(f"{visitors} visitors at once, {each} clicks each: errors", str(errors))
        if medians:
            shortest, longest = min(medians), max(medians)
            _row("the same: median waiting time of a visitor", f"{shortest:.2f} to {longest:.2f} s")
            _row("the same: longest over shortest", f"{longest / shortest:.2f}")
        made, samples = 0, []
        for upto in (clicks // 10, clicks):
            while made < upto:
                one.click([1.0])
                made += 1
            samples.append(f"{process.memory_info().rss / 2**20:.0f} MiB after {made:,}")
        _row("memory of the server over clicks", ", ".join(samples))
    if errors:
        raise click.ClickException(f"{errors} requests failed")


if __name__ == "__main__":
    main()
