"""One GPU, in eight minutes: ``make bench-gpu``, or ``python -m benchmarks.bench_gpu --out FOLDER``.

It writes ``results.json`` and ``results.md`` after each part, so that what is there counts if it is ended. It needs
neither Dask nor PyArrow; parts that do, or that need other packages that are missing, are left out by name. On a CPU
the same parts run in miniature.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch

from benchmarks.gpu import networks
from benchmarks.gpu.evaluation import objects_per_second
from benchmarks.gpu.networks import ARITHMETIC, DEVICE, Row
from benchmarks.gpu.workers import Load, Turn, same_share, turn

PACKAGES = ("pyarrow", "distributed", "tornado", "cloup", "pycocotools", "rlemasklib", "duckdb", "fsspec", "rich")
"""What ``agg proposals run`` needs beside what this benchmark needs."""
FAILED = (RuntimeError, EOFError, OSError)
"""Errors of one measurement, with those of a process that has ended; the others go on."""
MAKING = 0.6
"""Share of the time after which proposals of generated scenes are made in no further way."""


@dataclass(frozen=True)
class Table:
    """What a part has measured.

    Attributes:
        title: what it is, in words.
        columns: names of the columns.
        rows: its rows; a cell that is None is unknown.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[Row]

    def markdown(self) -> str:
        """The table with its title."""
        lines = [f"## {self.title}", "", f"| {' | '.join(self.columns)} |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


def _cell(cell: str | int | float | None) -> str:
    return "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)


@dataclass
class Report:
    """Files that grow with each part."""

    out: Path
    head: str
    minutes: float
    began: float = field(default_factory=time.monotonic)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def late(self, share: float = 1.0) -> bool:
        """Whether this share of the time is over."""
        return time.monotonic() - self.began > 60 * self.minutes * share

    def add(self, table: Table) -> None:
        """Add a table, print it and write the files."""
        self.tables.append(table)
        print(table.markdown(), flush=True)
        self.write()

    def note(self, line: str) -> None:
        """Add a line, such as one that says what was left out."""
        self.notes.append(line)
        print(line, flush=True)
        self.write()

    def write(self) -> None:
        """Write both files anew."""
        self.out.mkdir(parents=True, exist_ok=True)
        text = "\n".join([f"# {self.head}", "", *self.notes, "", *(table.markdown() for table in self.tables)])
        (self.out / "results.md").write_text(text)
        tables = {
            table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in self.tables
        }
        content = {"device": self.head, "seconds": time.monotonic() - self.began, "notes": self.notes, **tables}
        (self.out / "results.json").write_text(json.dumps(content, indent=1) + "\n")


def kernels(report: Report, miniature: bool) -> None:
    """Networks alone."""
    seconds = 0.1 if miniature else 0.3
    for title, columns, rows in (
        (
            "Logits of the built-in model against the CPU's in float32",
            ("arithmetic", "largest difference", "largest logit"),
            networks.difference(),
        ),
        (
            "Forward",
            ("model", "input", "arithmetic", "batch", "ms", "images/s"),
            networks.forwards(miniature, seconds),
        ),
        (
            "Training step without clicks",
            ("model", "input", "arithmetic", "trained", "batch", "ms", "samples/s", "GiB"),
            networks.steps(miniature, seconds),
        ),
    ):
        report.add(Table(title, columns, rows))


def _row(done: Turn) -> Row:
    load = done.load
    return [
        *(load.arithmetic, done.workers, load.batch_objects),
        *(done.proposals, done.forwards, done.busy, done.gib),
    ]


def making(report: Report, miniature: bool) -> None:
    """Proposals a second by workers, arithmetic and batch, whether workers change masks, and the authors' program."""
    architecture, size, images = ("xtiny", 224, 2) if miniature else ("base", 448, 24)
    columns = ("arithmetic", "workers", "objects a batch", "proposals/s", "forwards/s", "busy", "GiB")
    plan = [("float32", workers, 16) for workers in ((1, 2) if miniature else (1, 2, 4, 8))]
    if not miniature:
        plan += [("bfloat16", 4, 16), ("bfloat16", 8, 16), ("TF32", 4, 16), ("float32", 4, 32), ("float32", 4, 8)]
    table = Table(f"Proposals of generated scenes, {architecture} at {size}", columns, [])
    report.add(table)
    done: list[Turn] = []
    for how, workers, batch in plan:
        if report.late(MAKING):
            report.note(f"left out: {how} with {workers} workers and {batch} objects a batch, for lack of time")
            continue
        try:
            done.append(turn(workers, Load(architecture, size, how, batch, images, DEVICE)))
        except FAILED as error:
            report.note(f"failed: {how} with {workers} workers and {batch} objects a batch ({error!r})")
            continue
        table.rows.append(_row(done[-1]))
        print(*table.rows[-1], flush=True)
        report.write()
    if not done:
        return
    first = done[0]
    rows: list[Row] = [
        [each.workers, len(each.masks), same_share(first, each)] for each in done if each.load == first.load
    ]
    report.add(
        Table(
            "The same masks from more workers, float32",
            ("workers", "masks", "share of the first row's that are the same"),
            rows,
        )
    )
    few = 1 if miniature else 6
    ours = turn(1, Load(architecture, size, "float32", 16, few, DEVICE))
    theirs = turn(1, Load(architecture, size, "float32", 1, few, DEVICE, released=True))
    rows = [
        ["one worker", ours.proposals, ours.forwards, ours.proposals / theirs.proposals],
        ["authors' program, re-enacted", theirs.proposals, theirs.forwards, 1.0],
    ]
    report.add(Table(f"The first {few} of these scenes", ("", "proposals/s", "forwards/s", "times"), rows))


def evaluating(report: Report, miniature: bool) -> None:
    """Evaluation with the built-in model."""
    ours, plain = objects_per_second(DEVICE, 2 if miniature else 16, 8, 3 if miniature else 20)
    rows: list[Row] = [["in batches", ours, ours / plain], ["one after the other", plain, 1.0]]
    report.add(Table("Evaluation, xtiny at 224, ten granularities", ("", "objects/s", "times"), rows))


def training(report: Report, miniature: bool) -> None:
    """Steps of the recipe paper."""
    if importlib.util.find_spec("lightning_fabric") is None:
        report.note("left out: training steps with clicks, because lightning-fabric is not installed")
        return
    from benchmarks.gpu.training import samples_per_second

    model = ("xtiny", 224, 2, 1) if miniature else ("base", 448, 32, 12)
    rate, clicks = samples_per_second(DEVICE, *model)
    columns = ("model", "input", "batch", "samples/s", "share of the time for clicks")
    report.add(Table("Training with the recipe paper", columns, [[*model[:3], rate, clicks]]))


def running(report: Report, miniature: bool) -> None:
    """A real run, with the built-in model."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        report.note(f"left out: agg proposals run, because {', '.join(missing)} are not installed")
        return
    images = "2" if miniature else "96"
    command = (sys.executable, "-m", "agg_pipeline.cli", "proposals", "run", "--limit-images", images)
    out = report.out / "run"
    options = ("--images-per-shard", "2", "--gallery-images", "0", "--device", DEVICE, "--out", str(out), "--overwrite")
    began = time.monotonic()
    done = subprocess.run((*command, *options), capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        report.note(f"agg proposals run failed: {done.stderr.strip().splitlines()[-1:]}")
        return
    to_do = next((line for line in done.stdout.splitlines() if " to do with " in line), "")
    speed = re.search(r"in [^,]*, ([\d.]+) images/s", done.stdout)
    rate = float(speed[1]) if speed else None
    report.add(Table("agg proposals run", ("", "seconds with start-up", "images/s"), [[to_do, seconds, rate]]))


PARTS: tuple[Callable[[Report, bool], None], ...] = (making, running, training, kernels, evaluating)
"""The most important first."""


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/demo/bench-gpu"), show_default=True
)
@click.option("--minutes", default=8.0, show_default=True, help="No part begins after this time.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice([each.__name__ for each in PARTS]), help="Only these."
)
def main(out: Path, minutes: float, parts: tuple[str, ...]) -> None:
    """Measure one GPU, or a CPU in miniature."""
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU, in miniature"
    report = Report(out, f"{card}, torch {torch.__version__}", minutes)
    print(f"{report.head}; arithmetic: {', '.join(ARITHMETIC)}\n", flush=True)
    for part in PARTS:
        if parts and part.__name__ not in parts:
            continue
        if report.late():
            report.note(f"left out: {part.__name__}, because {minutes:g} minutes were over")
            continue
        try:
            part(report, DEVICE == "cpu")
        except FAILED as error:
            traceback.print_exc()
            report.note(f"failed: {part.__name__} ({error!r})")
    print(f"{time.monotonic() - report.began:.0f} s; {out / 'results.md'} and results.json have the tables")


if __name__ == "__main__":
    main()
