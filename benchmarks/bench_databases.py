"""``agg database`` on a synthetic database of a million masks: seconds and peak memory of every command.

``python -m benchmarks.bench_databases [--masks 1000000] [--images 40000] [--folder F] [--only validate --only id]``:
every command runs in a process of its own. A folder keeps the databases, and those that are in it are used again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import click

READ = """
import sys, time
from agg_pipeline.database.reader import open_proposals
started = time.perf_counter()
database = open_proposals(sys.argv[1])
print(f"open_proposals: {time.perf_counter() - started:.2f} s")
shards = database.plan["shards"]
seconds = []
for shard in shards[:: max(1, len(shards) // 50)]:
    started = time.perf_counter()
    database.of_image(shard[-1])
    seconds.append(time.perf_counter() - started)
first, *others = (1000 * each for each in seconds)
print(f"of_image: {first:.0f} ms for the first image")
if others:
    print(f"of_image: {sorted(others)[len(others) // 2]:.0f} ms (median), {max(others):.0f} ms (slowest) for others")
"""
"""Opens a database and reads one image of each of 50 shards."""
WRITE = """
import sys
from benchmarks.synthetic_database import write_database
write_database(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""
LOADER = """
import sys, time
from pathlib import Path
from textwrap import dedent

folder, path, masks = sys.argv[1], sys.argv[2], int(sys.argv[3])
guide = Path("docs/guide/sharing.md").read_text()
example = guide.partition("### A torch DataLoader")[2].partition("```python")[2].partition("```")[0]
made, _, used = example.partition("if __name__")
exec(made)
started = time.perf_counter()
write_arrow(folder, path)
print(f"the Arrow file: {time.perf_counter() - started:.0f} s, {Path(path).stat().st_size / 2**20:.0f} MiB")
used = used.partition("write_arrow(folder,")[2].partition("\\n")[2].partition("masks, granularities =")[0]
exec(dedent(used).replace('"masks.arrow"', "path"))
seen, batches = 0, iter(loader)
while seen < masks // 4:
    seen += len(next(batches)[1])
started, before = time.perf_counter(), seen
while seen < masks:
    seen += len(next(batches)[1])
print(f"{(seen - before) / (time.perf_counter() - started):.0f} masks a second, {loader.num_workers} workers")


def own(process):
    rows = dict(line.split()[:2] for line in open(f"/proc/{process}/smaps_rollup") if "kB" in line)
    return (int(rows["Private_Dirty:"]) + int(rows["Private_Clean:"])) / 1024


print(f"{max(own(worker.pid) for worker in batches._workers):.0f} MiB of its own, the largest worker")
"""
"""Runs the example of the guide over some masks; it must end in batches of (masks, granularities)."""
FILTER = "kind = 'part' and granularity between 0.2 and 0.4 and area > 500"


@dataclass(frozen=True)
class Case:
    """A command that is measured.

    Attributes:
        name: its name.
        command: its arguments after ``python``.
        out: folder that it makes; "" for none.
        code: its exit code.
    """

    name: str
    command: tuple[str, ...]
    out: str = ""
    code: int = 0


def cases(root: Path) -> list[Case]:
    """The commands in an order in which each finds what it needs."""

    def agg(name: str, *arguments: str, out: str = "", code: int = 0) -> Case:
        into = ("--out", str(root / out)) if out else ()
        return Case(name, ("-m", "agg_pipeline.cli", "database", name.split()[0], *arguments, *into), out, code)

    whole, halves = str(root / "whole"), [str(root / "halves" / f"part-{n}") for n in (1, 2)]
    return [
        Case("read", ("-c", READ, whole)),
        agg("validate", whole),
        agg("id", whole),
        agg("split", whole, "--shares", "0.5,0.5", out="halves"),
        agg("merge", *halves, out="merged"),
        agg("filter", whole, "--where", FILTER, out="filtered"),
        agg("reshard", whole, "--images-per-shard", "200", out="resharded"),
        agg("recompute", whole, "--lambda", "0.3", out="recomputed"),
        agg("export coco", whole, "--format", "coco", out="coco.json"),
        agg("import coco", str(root / "coco.json"), "--format", "coco", out="imported"),
        agg("export sa1b", whole, "--format", "sa1b", out="sa1b"),
        Case("loader", ("-c", LOADER, whole, str(root / "masks.arrow"), "40000"), "masks.arrow"),
        agg("diff", whole, str(root / "resharded")),
        agg("diff (other granularities)", whole, str(root / "recomputed"), code=1),
    ]


@click.command()
@click.option("--masks", default=1_000_000, show_default=True, help="Masks of the database.")
@click.option("--images", type=int, help="Its images. Default: one for 25 masks.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the databases here, and use those in it.")
@click.option("--only", multiple=True, help="Measure only this command; can be repeated.")
def main(masks: int, images: int | None, folder: Path | None, only: tuple[str, ...]) -> None:
    """Make the database if it is missing, and print time and peak memory of every command."""
    with tempfile.TemporaryDirectory() as temporary:
        root = folder or Path(temporary)
        if not (root / "whole" / "manifest.json").exists():
            rmtree(root / "whole", ignore_errors=True)
            _measure(Case("write", ("-c", WRITE, str(root / "whole"), str(masks), str(images or masks // 25))))
        files = [path for path in (root / "whole").rglob("*") if path.is_file()]
        print(f"{len(files)} files of {sum(path.stat().st_size for path in files) / 2**20:.0f} MiB", flush=True)
        for case in cases(root):
            if not only or case.name.split()[0] in only:
                if case.out:
                    rmtree(root / case.out, ignore_errors=True)
                    (root / case.out).unlink(missing_ok=True)
                _measure(case)


def _measure(case: Case) -> None:
    """Run a command and print what it takes; what it prints itself comes before, indented."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *case.command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode != case.code:
        raise click.ClickException(f"{case.name} ended with exit code {process.returncode}:\n{printed}")
    print("".join(f"    {line}\n" for line in printed.splitlines()), end="")
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    print(f"{case.name}: {seconds:.1f} s (CPU {cpu:.1f} s), peak memory {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
