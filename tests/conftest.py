"""Fixtures that all tests share."""

from pathlib import Path

import pytest
import torch

from agg_pipeline.storage import attempts


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option of the suite's own."""
    parser.addoption(
        "--all-recorded", action="store_true", help="Compare with all that was recorded; takes half an hour."
    )


pytest_plugins = ["tests.toy_run", "tests.e2e.finished_run"]

LONGEST = (
    "test_same_bytes.py",
    "faults/",
    "e2e/test_evaluate.py",
    "e2e/",
    "study/",
    "cli/test_finetune",
    "golden",
    "training/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no process is left with one of them in the end."""
    items.sort(key=lambda item: next((n for n, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run side by side, and recorded values were made with one thread."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in passing is tried again at once."""
    monkeypatch.setattr(attempts, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference values, checkpoints and small data sets beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared with reference values")
    return folder
