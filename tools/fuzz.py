"""Give the readers of files many broken variants, with new random numbers in every round.

    python tools/fuzz.py --minutes 60

The targets are the tests in tests/fuzz. A finding is a test that fails; Hypothesis prints the smallest variant that it
has found, which belongs into a test of its own. The exit code is 1 if there is a finding.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLES = 1000
"""Variants per target and round."""


@click.command()
@click.option(
    "--minutes", type=float, default=60.0, show_default=True, help="Time after which no further round begins."
)
@click.option("--seed", type=int, help="Seed of the first round. Defaults to the time.")
@click.option("--processes", type=int, default=2, show_default=True, help="Test processes at a time.")
def main(minutes: float, seed: int | None, processes: int) -> None:
    """Run rounds until the time is over, and count the variants and the findings."""
    started = time.monotonic()
    seed = int(time.time()) if seed is None else seed
    rounds, failed = 0, []
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        while rounds == 0 or time.monotonic() - started < 60 * minutes:
            if subprocess.call(command(seed + rounds, processes), cwd=PROJECT, env=environment(counts)):
                failed.append(seed + rounds)
            rounds += 1
            cases = counts.stat().st_size if counts.exists() else 0
            spent = (time.monotonic() - started) / 60
            click.echo(f"{cases:,} variants in {rounds} rounds and {spent:.0f} minutes; {len(failed)} with a finding")
    if failed:
        sys.exit(f"error: findings with --seed {', '.join(map(str, failed))}; they are printed above")


def command(seed: int, processes: int) -> list[str]:
    """The call of pytest for a round."""
    pytest = [sys.executable, "-m", "pytest", "-q", "--numprocesses", str(processes), "--dist", "worksteal"]
    return [*pytest, "-p", "no:cacheprovider", f"--hypothesis-seed={seed}", "tests/fuzz"]


def environment(counts: Path) -> dict[str, str]:
    """The environment of a round: more variants than in the suite, which are counted."""
    return os.environ | {"FUZZ_EXAMPLES": str(EXAMPLES), "FUZZ_COUNTS": str(counts)}


if __name__ == "__main__":
    main()
