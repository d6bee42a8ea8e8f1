"""The examples of the guide to sharing run as they are written, without this project."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agg_pipeline.database.exchange.exporting import export_database
from agg_pipeline.database.publishing.transfer import transfer
from agg_pipeline.database.reader import open_proposals
from tests.toy_run import make_database

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/guide/sharing.md").read_text().partition("## Read without this project\n")[2]
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)
SECONDS = 120
BEFORE = """
import sys

for name in ("agg_pipeline", "stages", "schemas"):
    sys.modules[name] = None  # an import fails

folder, bucket, photographs = sys.argv[1:]
"""


def examples():
    """Every example, with the heading above it and its number there."""
    for section in re.split(r"^### ", GUIDE, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for number, code in enumerate(EXAMPLE.findall(section)):
            yield pytest.param(code, id=f"{heading} {number}")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return open_proposals(make_database(tmp_path_factory.mktemp("database")).url)


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("code", list(examples()))
def test_example(code, database, tmp_path):
    missing = [name for name in IMPORT.findall(code) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    if "masks.json" in code:
        export_database(database, "coco", tmp_path / "masks.json")
    if "{bucket}" in code:
        transfer(database, "s3://bucket/toy")
    home = str(tmp_path / "home")
    (tmp_path / "example.py").write_text(BEFORE + code)
    result = subprocess.run(
        [sys.executable, "example.py", database.store.url, "s3://bucket/toy", str(tmp_path)],
        env={**os.environ, "HF_HOME": home, "HF_HUB_OFFLINE": "1", "FIFTYONE_DATABASE_DIR": home},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stderr


def test_every_program_has_an_example():
    assert len(list(examples())) >= 10
    for program in ("duckdb", "polars", "pandas", "pyarrow", "datasets", "pycocotools", "fiftyone", "torch"):
        assert re.search(rf"^(import|from) {program}\b", GUIDE, re.MULTILINE), program
