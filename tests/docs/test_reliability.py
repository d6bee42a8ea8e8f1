"""The table of faults names tests that exist, and every file of fault tests."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/reference/reliability.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "::" in line]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
FAULT_FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "tests/faults").glob("test_*.py"))


def names_in(path: Path) -> set[str]:
    """Names of the tests that pytest collects from a file: functions whose names begin with ``test_``."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_row_names_a_test_that_exists():
    named = [TEST.findall(line) for line in ROWS]
    assert len(named) > 50
    assert all(len(found) == 1 for found in named)
    missing = [f"{path}::{name}" for ((path, name),) in named if name not in names_in(Path(path))]
    assert missing == []


def test_no_row_is_there_twice():
    assert len(set(ROWS)) == len(ROWS)


@pytest.mark.parametrize("path", FAULT_FILES, ids=str)
def test_every_fault_test_has_a_row(path):
    named = {name for file, name in TEST.findall(TEXT) if file == str(path)}
    assert named == names_in(path)
