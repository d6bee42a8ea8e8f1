"""A run on an existing Dask cluster: a scheduler and two workers that were started without this project's help."""

import json
import os
import subprocess
import sys
import time

import pytest

from agg_pipeline import open_proposals
from tests.e2e.commands import ENVIRONMENT, invoke, start, wait
from tests.e2e.small_set import SIZES

LOOPBACK = "127.0.0.1"


def dask(name, folder, *arguments):
    """Start ``dask scheduler`` or ``dask worker``, which write to a log in the folder and keep their files there."""
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *arguments, "--host", LOOPBACK, "--no-dashboard"],
            cwd=folder,
            env=os.environ | ENVIRONMENT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait_until(condition, processes, folder):
    deadline = time.monotonic() + 60
    while not condition():
        logs = [path.read_text() for path in folder.glob("*/log")]
        assert all(process.poll() is None for process in processes), logs
        assert time.monotonic() < deadline, logs
        time.sleep(0.05)


@pytest.fixture
def scheduler(tmp_path):
    """The address of a cluster with two workers, each in a folder of its own."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    description = folder / "scheduler.json"
    processes = []
    try:
        processes.append(
            dask(
                *("scheduler", folder / "scheduler", "--port", "0"),
                *("--dashboard-address", f"{LOOPBACK}:0", "--scheduler-file", str(description)),
            )
        )
        wait_until(description.exists, processes, folder)
        address = json.loads(description.read_text())["address"]
        assert address.startswith(f"tcp://{LOOPBACK}:")
        for n in range(2):
            processes.append(dask("worker", folder / f"worker-{n}", address, "--nthreads", "2", "--no-nanny"))
        logs = [folder / f"worker-{n}/log" for n in range(2)]
        wait_until(lambda: all("Registered to" in log.read_text() for log in logs), processes, folder)
        yield address
        assert all(process.poll() is None for process in processes), "a run leaves the cluster as it was"
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_same_bytes_as_with_workers_of_its_own(finished, scheduler, tmp_path):
    # Relative paths: the workers have another working directory.
    data = os.path.relpath(finished.data, tmp_path)
    result = wait(
        start(
            *("proposals", "run", *SIZES, "--data", data, "--out", "out", "--gallery-images", "0"),
            *("--scheduler", scheduler),
            cwd=tmp_path,
        )
    )
    assert (result.code, result.stderr) == (0, "")
    assert "4 of 4 images" in result.stdout
    theirs, ours = tmp_path / "out/database", finished.out / "database"
    assert open_proposals(theirs).images().num_rows == 4
    names = {path.relative_to(ours) for path in ours.rglob("*.parquet")}
    assert len(names) == 13
    assert {path.relative_to(theirs) for path in theirs.rglob("*.parquet")} == names
    for name in names:
        assert (theirs / name).read_bytes() == (ours / name).read_bytes(), name
    assert (theirs / "manifest.json").read_bytes() == (ours / "manifest.json").read_bytes()
    assert invoke("proposals", "validate", theirs).code == 0
    assert not list((tmp_path / "cluster").rglob("*.parquet"))
