"""Writes the golden databases of the present version of the format: ``python -m tools.golden_database``.

Run it once, when a version of the format is published; the files of earlier versions never change.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copytree

from agg_pipeline.database.identity import database_id
from agg_pipeline.database.reader import open_proposals
from schemas.tables import FORMAT_MINOR, FORMAT_VERSION
from tests.database.golden_rows import all_rows
from tests.e2e.small_set import NAMING, SIZES, add_image, add_split, labels

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "database" / "golden"


def write(folder: Path) -> None:
    """Write the database of a run, and with format 1.1 and later one that is merged from it and another run."""
    data = folder / "data"
    for number in range(3):
        add_image(data, f"2008_00000{number}", labels(shift=number))
    (data / "img" / "2008_000002.jpg").write_bytes(b"no picture")
    (data / "dataset.toml").write_text(NAMING)
    add_split(data, "train", *(f"2008_00000{number}" for number in range(3)))
    version = f"{FORMAT_VERSION}.{FORMAT_MINOR}"
    _run(data, folder / "run", "0")
    _keep(folder / "run" / "database", f"{version}-run")
    if FORMAT_MINOR:
        _run(data, folder / "other", "1")
        _agg("database", "merge", folder / "run", folder / "other", "--out", folder / "merged")
        _keep(folder / "merged", f"{version}-merged")


def _run(data: Path, out: Path, seed: str) -> None:
    options = (*SIZES, "--images-per-shard", "2", "--workers", "1", "--gallery-images", "0", "--max-reject-share", "1")
    _agg("proposals", "run", *options, "--seed", seed, "--data", data, "--out", out)


def _agg(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "agg_pipeline.cli", *map(str, arguments)], check=True)


def _keep(database: Path, name: str) -> None:
    """Copy a database, and write down what a reader must find in it."""
    copytree(database, GOLDEN / name / "database")
    opened = open_proposals(str(database))
    expected = {"id": database_id(opened), "rows": all_rows(database)}
    (GOLDEN / name / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary))
