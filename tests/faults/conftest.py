"""What the fault tests share: commands that are cleaned up, and the databases of undisturbed runs."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.processes import Commands, assert_done


@pytest.fixture
def commands(finished, tmp_path) -> Iterator[Commands]:
    """Starts commands on the small set; ends those that a test leaves behind."""
    logs = tmp_path / "logs"
    logs.mkdir()
    made = Commands(logs, finished.data)
    yield made
    made.close()


@pytest.fixture
def hangup() -> Iterator[None]:
    """Commands do not inherit from nohup that SIGHUP is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def reference(finished) -> Path:
    """Output folder of an undisturbed run; nobody may change its files."""
    return finished.out


@pytest.fixture(scope="session")
def other_seed(finished, tmp_path_factory) -> Path:
    """Output folder of an undisturbed run with --seed 1."""
    folder = tmp_path_factory.mktemp("other-seed")
    assert_done(Commands(folder, finished.data).make(folder / "out", "--seed", 1))
    return folder / "out"
