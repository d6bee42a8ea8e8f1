"""Same input, same bytes: whatever the workers, kills and restarts. Real processes, the real torch model."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agg_pipeline.database.reader import open_proposals
from tests.e2e.faults import STAGES

RUN = (
    *(sys.executable, "-m", "agg_pipeline.cli", "proposals", "run", "--dataset", "demo", "--gallery-images", "0"),
    *("--limit-images", "6", "--images-per-shard", "2", "--batch-objects", "2", "--input-size", "64"),
)
FAULTS = Path(__file__).with_name("faults.py")


def start(out, orders=None, *options):
    environment = dict(os.environ)
    if orders is not None:
        environment |= {"FAULTS": str(orders), "DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(FAULTS)])}
        # One more try is enough here, where each takes the start of a process.
        environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "1"
    return subprocess.Popen(
        [*RUN, "--out", str(out), *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process, code=0):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def parquet(out):
    root = out / "database"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*.parquet")
    }


def wait_for(condition, process, what):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def kill_all(process):
    """SIGKILL to the run and to all its workers at once, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    finish(start(out, None, "--workers", "1"))
    return out


def test_the_runs_are_hard_enough_to_prove_something(one_worker):
    database = open_proposals(str(one_worker))
    shards = database.plan["shards"][:3]
    assert len(database.sidecars) == 3
    for index in range(3):
        table = database.table("proposals", shards=[index])
        objects = [row for row in table.to_pylist() if row["kind"] == "object"]
        assert len(objects) > 3, "at least two batches of two objects in every shard"
        last = {}
        for row in table.to_pylist():
            if row["kind"] == "part":
                last[row["image_id"], row["instance_id"]] = len(row["clicks"])
        assert len(set(last.values())) > 1, "loops that end at different steps"
    assert sum(map(len, shards)) == database.images().num_rows


def test_a_worker_killed_in_each_stage(one_worker, tmp_path):
    orders = tmp_path / "orders"
    orders.mkdir()
    for stage in STAGES:
        (orders / f"kill-{stage}").touch()
    out = tmp_path / "out"
    finish(start(out, orders, "--workers", "2"))
    assert sorted(path.name for path in orders.iterdir()) == sorted(f"killed-{stage}" for stage in STAGES)
    assert parquet(out) == parquet(one_worker)


@pytest.mark.faults_long
def test_a_shard_that_two_workers_share_and_are_killed_in_each_stage(one_worker, tmp_path):
    orders = tmp_path / "orders"
    orders.mkdir()
    for stage in STAGES:
        (orders / f"kill-{stage}").touch()
    out = tmp_path / "out"
    output = finish(start(out, orders, "--limit-images", "2", "--workers", "2"))
    assert "2 images to do with 2 workers" in output
    assert sorted(path.name for path in orders.iterdir()) == sorted(f"killed-{stage}" for stage in STAGES)
    whole = parquet(one_worker)
    made = {name: digest for name, digest in parquet(out).items() if name.endswith("part-00000.parquet")}
    assert made == {name: whole[name] for name in made}
    assert len(made) == 3


def test_the_whole_run_killed_and_started_again(one_worker, tmp_path):
    orders = tmp_path / "orders"
    orders.mkdir()
    out = tmp_path / "out"
    sidecars = out / "database" / "shards"

    process = start(out, orders, "--workers", "1")
    wait_for(lambda: sidecars.exists() and any(sidecars.glob("part-*.json")), process, "a sidecar")
    kill_all(process)
    first = {path: path.stat().st_mtime_ns for path in (out / "database").rglob("part-*")}
    finished = {path.stem for path in sidecars.iterdir()}
    assert 1 <= len(finished) < 3

    (orders / "stall-write").touch()
    process = start(out, orders, "--workers", "1")
    wait_for((orders / "stalled-write").exists, process, "a worker in the middle of a write")
    kill_all(process)
    assert len(list((out / "database" / "proposals").iterdir())) > len(list(sidecars.iterdir()))

    output = finish(start(out, orders, "--workers", "2"))
    assert "of 6 images" in output
    assert parquet(out) == parquet(one_worker)
    for path, written in first.items():
        if path.stem in finished:
            assert path.stat().st_mtime_ns == written, f"{path} was rewritten"
    assert not list((out / "database").rglob(".tmp-*"))


@pytest.mark.long
def test_extending_a_limited_run(one_worker, tmp_path):
    finish(start(tmp_path, None, "--limit-images", "3", "--workers", "1"))
    assert open_proposals(str(tmp_path)).images().num_rows == 3
    kept = (tmp_path / "database/proposals/part-00000.parquet").stat().st_mtime_ns
    finish(start(tmp_path, None, "--workers", "1"))
    assert parquet(tmp_path) == parquet(one_worker)
    assert (tmp_path / "database/proposals/part-00000.parquet").stat().st_mtime_ns == kept


def test_an_image_that_kills_its_worker_is_found_and_recorded(one_worker, tmp_path):
    orders = tmp_path / "orders"
    orders.mkdir()
    culprit = open_proposals(str(one_worker)).plan["shards"][0][0]
    (orders / f"kill-always-{culprit}").touch()
    out = tmp_path / "out"
    output = finish(start(out, orders, "--workers", "1"), code=2)
    assert "of the images could not be used" in output
    database = open_proposals(str(out))
    rejected = [row for row in database.rejects().to_pylist() if row["reason"] == "killed_worker"]
    assert [row["image_id"] for row in rejected] == [culprit]
    assert database.images().num_rows == 5
    reference = open_proposals(str(one_worker))
    for index in (1, 2):
        assert database.table("proposals", shards=[index]) == reference.table("proposals", shards=[index])


def test_a_damaged_shard_is_made_again_even_outside_the_limit(one_worker, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(one_worker, out)
    (out / "database/images/part-00002.parquet").write_bytes(b"junk")
    finish(start(out, None, "--limit-images", "2", "--workers", "1"))
    assert sorted(open_proposals(str(out)).sidecars) == [0, 1]
    finish(start(out, None, "--workers", "1"))
    assert parquet(out) == parquet(one_worker)
