"""A run on an existing Dask cluster: a scheduler and two workers that were started without this project's help."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from agg_pipeline import open_proposals
from tests.e2e.commands import ENVIRONMENT, error_of, invoke, start, wait
from tests.e2e.small_set import HEIGHT, SIZES, WIDTH

LOOPBACK = "127.0.0.1"


def dask(name, folder, *arguments, **environment):
    """Start ``dask scheduler`` or ``dask worker``, which write to a log in the folder and keep their files there."""
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *arguments, "--host", LOOPBACK, "--no-dashboard"],
            cwd=folder,
            env=os.environ | ENVIRONMENT | environment,
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


@contextmanager
def cluster_below(folder, workers, **environment):
    """The address of a cluster.

    Args:
        folder: each process works in a folder of its own below it.
        workers: number of workers.
        environment: variables of their environment, beside those of this process.
    """
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
        places = [folder / f"worker-{n}" for n in range(workers)]
        options = address, "--nthreads", "2", "--no-nanny"
        processes += [dask("worker", place, *options, **environment) for place in places]
        wait_until(lambda: all("Registered to" in (place / "log").read_text() for place in places), processes, folder)
        yield address
        assert all(process.poll() is None for process in processes), "the runs leave the cluster as it was"
    finally:
        # The scheduler last: a worker that cannot say goodbye to it waits half a minute.
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster with two workers, and the folder below which each of them works."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster_below(folder, 2) as address:
        yield address, folder


def test_same_bytes_as_with_workers_of_its_own(finished, cluster, tmp_path):
    address, folder = cluster
    # Relative paths: the workers have another working directory.
    data = os.path.relpath(finished.data, tmp_path)
    result = wait(
        start(
            *("proposals", "run", *SIZES, "--data", data, "--out", "out", "--gallery-images", "0"),
            *("--scheduler", address),
            cwd=tmp_path,
        )
    )
    assert (result.code, result.stderr) == (0, "")
    assert "4 of 4 images" in result.stdout
    assert re.search(r"^Dask dashboard: http://127\.0\.0\.1:\d+/status$", result.stdout, re.M)
    opened = re.findall(
        r"worker (tcp://127\.0\.0\.1:\d+): process \d+ on \S+ opened", (tmp_path / "out/log.txt").read_text()
    )
    assert len(set(opened)) == 2
    theirs, ours = tmp_path / "out/database", finished.out / "database"
    assert open_proposals(theirs).images().num_rows == 4
    names = {path.relative_to(ours) for path in ours.rglob("*.parquet")}
    assert len(names) == 13
    assert {path.relative_to(theirs) for path in theirs.rglob("*.parquet")} == names
    for name in names:
        assert (theirs / name).read_bytes() == (ours / name).read_bytes(), name
    assert (theirs / "manifest.json").read_bytes() == (ours / "manifest.json").read_bytes()
    assert invoke("proposals", "validate", theirs).code == 0
    assert not list(folder.rglob("*.parquet"))


@pytest.mark.long
def test_workers_that_share_a_shard_read_its_images_again(finished, cluster, tmp_path):
    address, _ = cluster
    config = tmp_path / "config.toml"
    # The shard keeps two of its four images.
    config.write_text(f"[batch]\nbatch_pixels = {HEIGHT * WIDTH}\n")
    common = (
        *("proposals", "run", *SIZES, "--images-per-shard", "4", "--data", finished.data, "--config", config),
        *("--gallery-images", "0"),
    )
    tables = []
    for name, where in (
        ("alone", ("--workers", "1")),
        ("local", ("--workers", "2")),
        ("far", ("--scheduler", address)),
    ):
        result = wait(start(*common, "--out", tmp_path / name, *where))
        assert (result.code, result.stderr) == (0, "")
        database = tmp_path / name / "database"
        tables.append({path.relative_to(database): path.read_bytes() for path in database.rglob("*.parquet")})
    assert tables[0] == tables[1] == tables[2]
    rows = open_proposals(tmp_path / "far" / "database").table("proposals").to_pylist()
    assert {row["image_id"] for row in rows if row["kind"] == "part"} == {f"2008_00000{n}" for n in range(4)}


@pytest.mark.long
def test_two_runs_at_a_time_do_not_disturb_each_other(finished, cluster, tmp_path):
    address, _ = cluster
    common = ("proposals", "run", *SIZES, "--data", finished.data, "--gallery-images", "0")
    outs = {seed: tmp_path / str(seed) for seed in (0, 1)}
    runs = [start(*common, "--out", out, "--seed", seed, "--scheduler", address) for seed, out in outs.items()]
    assert [wait(run).code for run in runs] == [0, 0]
    assert wait(start(*common, "--out", tmp_path / "alone", "--seed", 1)).code == 0
    for seed, reference in ((0, finished.out), (1, tmp_path / "alone")):
        for name in [path.relative_to(reference) for path in (reference / "database").rglob("*.parquet")]:
            assert (outs[seed] / name).read_bytes() == (reference / name).read_bytes(), (seed, name)


def test_workers_that_write_elsewhere(finished, cluster):
    """Every process has a memory of its own: what this one puts there the workers never see."""
    command = ("proposals", "run", *SIZES, "--data", finished.data, "--limit-images", "1", "--gallery-images", "0")
    error = error_of(invoke(*command, "--out", "memory://elsewhere", "--scheduler", cluster[0]))
    named, _, said = error.partition(": ")
    assert named.startswith("worker tcp://127.0.0.1:")
    assert said == (
        "memory://elsewhere/database/lock.json is gone: it was deleted, or a worker does not see this folder; "
        "the run stops here, and what is finished stays"
    )


def test_a_worker_without_this_package(finished, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "agg_pipeline.py").write_text("raise ModuleNotFoundError('there is no agg_pipeline here')\n")
    out = tmp_path / "out"
    with cluster_below(tmp_path, 1, PYTHONPATH=str(packages)) as address:
        command = ("proposals", "run", *SIZES, "--data", finished.data, "--out", out, "--scheduler", address)
        error = error_of(invoke(*command))
    assert error == (
        "a worker of the cluster cannot use this package (ModuleNotFoundError('there is no agg_pipeline here')); "
        "every worker needs the same versions of agg-pipeline and of the packages that it uses; its log says more"
    )
    assert not list(out.rglob("*.parquet"))
