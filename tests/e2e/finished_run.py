"""One small finished run for the tests that look at what a run leaves."""

import time
from typing import NamedTuple

import pytest

from tests.e2e.commands import Result, invoke, start, wait
from tests.e2e.small_set import QUICK, SIZES, write_set


class Finished(NamedTuple):
    """The data, the output folder, and what a second run into that folder said while the first one worked."""

    data: object
    out: object
    second: Result
    first_process: int


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run; nobody may change its files."""
    folder = tmp_path_factory.mktemp("small")
    data, out = write_set(folder / "data"), folder / "out"
    command = ("proposals", "run", *SIZES, *QUICK, "--data", data, "--out", out)
    process = start(*command)
    while not (out / "database/lock.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    second = invoke(*command)
    assert process.poll() is None, "the first run ended too early to be in the way of the second"
    result = wait(process)
    assert result.code == 0, result
    assert result.stderr == ""
    return Finished(data, out, second, process.pid)
