"""Recall of annotated parts by the proposals of some images, beside random partitions of the same objects.

Needs photographs:
``python -m benchmarks.bench_parts --data sbd-mini --parts parts-mini --checkpoint xtiny448.pth --out folder``.
Arguments after ``--`` are passed to ``agg proposals run``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from agg_pipeline.models.checkpoints import default_checkpoint
from stages.draws import uniforms


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path), help="Folder in SBD's layout.")
@click.option("--parts", required=True, help="Folder in PartImageNet's layout, with parts of the same images.")
@click.option("--checkpoint", default=str(default_checkpoint()), help="Click model. Default: the built-in model.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output folder.")
@click.option("--prefix", default="ccp_", show_default=True, help="Images to draw from: those whose ids start so.")
@click.option("--people", default=60, show_default=True, help="Images to draw.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
@click.argument("options", nargs=-1)
def main(
    data: Path, parts: str, checkpoint: str, out: Path, prefix: str, people: int, seed: int, options: tuple[str, ...]
) -> None:
    """Make the proposals of some training images, then print ``agg database stats --parts``."""
    ids = sorted(line for line in (data / "train.txt").read_text().split() if line.startswith(prefix))
    order = uniforms(seed, "sbd", "", 0, "bench-parts", 0, len(ids)).argsort(kind="stable")
    chosen = out / f"people-{seed}.txt"
    out.mkdir(parents=True, exist_ok=True)
    chosen.write_text("\n".join(sorted(ids[n] for n in order[:people])) + "\n")
    agg = (sys.executable, "-m", "agg_pipeline.cli", "proposals")
    target = str(out / f"people-{seed}")
    run = ("--dataset", "sbd", "--data", str(data), "--split", str(chosen), "--checkpoint", checkpoint, *options)
    subprocess.run([*agg, "run", *run, "--out", target], check=True)
    subprocess.run([*agg, "stats", target, "--parts", parts], check=True)


if __name__ == "__main__":
    main()
