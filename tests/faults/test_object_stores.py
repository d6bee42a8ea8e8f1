"""Object stores that fail: the bytes of a local run, or one line; never a reject, never another fingerprint."""

import json
import re
import signal
import time

import pyarrow.parquet as pq
import pytest

from tests.faults.object_store import Fault, object_store
from tests.faults.processes import (
    PATIENCE,
    SIDECAR,
    assert_done,
    assert_same,
    assign,
    database,
    error_line,
    hold,
    shim,
    sidecars,
)

RESUME = "run the same command again to resume"
QUICK_LOCK = assign(
    storage__lock__HEARTBEAT_SECONDS=0.3, storage__lock__LOOK_SECONDS=0.1, storage__lock__DEAD_AFTER_SECONDS=6.0
)
QUICK_RETRIES = assign(storage__attempts__PAUSES=(0.1, 0.2, 0.4))
PASSING = {
    "slow down": [Fault(503, 0.05)],
    "internal error": [Fault(500, 0.1)],
    "reset": [Fault("reset", 0.1, ("GET", "HEAD"))],
    "reset of writing": [Fault("reset", 0.2, ("PUT",))],
    "lost answers": [Fault("lost", 0.3, ("PUT",))],
    "forbidden now and then": [Fault(403, 0.05)],
}
LASTING = {
    "writing forbidden": [Fault(403, methods=("PUT",))],
    "asking forbidden": [Fault(403, methods=("HEAD",))],
    "all forbidden": [Fault(403)],
    "service away": [Fault(503)],
    "network away": [Fault("reset")],
    "shards cannot be written": [Fault(403, methods=("PUT",), path="/shards/")],
    "shards are not found": [Fault(404, methods=("GET", "HEAD"), path="/shards/part")],
}
OF_DATA = {
    "forbidden": [Fault(403, path="/data/img/")],
    "one image forbidden": [Fault(403, path="2008_000002.jpg")],
    "annotations forbidden": [Fault(403, path="/data/inst/")],
    "slow down": [Fault(503, path="/data/img/")],
    "reset": [Fault("reset", path="/data/img/")],
    "not found by reading": [Fault(404, methods=("GET",), path="/data/img/2008_000001.jpg")],
    "all forbidden": [Fault(403, path="/data")],
}


@pytest.fixture(scope="module")
def server(finished):
    """An S3 server, with the small set below ``data``."""
    with object_store() as store:
        store.upload(finished.data, "bucket/data")
        yield store


@pytest.fixture
def s3(server, request):
    """The server without faults; a place of its own for each test."""
    server.faults, server.place = [], f"bucket/{re.sub(r'[^a-z0-9]', '-', request.node.name.lower())}"
    server.failed.clear()
    yield server
    server.faults = []


def make(commands, s3, *options, out=None, lines="", **how):
    """Run to the end, with output or data on the server."""
    environment = s3.environment() | shim(commands.folder, QUICK_LOCK, QUICK_RETRIES, lines)
    return commands.make(out or f"s3://{s3.place}", "--workers", 1, *options, environment=environment, **how)


def assert_same_there(s3, tmp_path, reference):
    place = tmp_path / f"copy{time.monotonic_ns()}"
    assert_same(s3.download(s3.place, place), reference)


def rejected(out):
    tables = (out / "database/rejects").glob("*.parquet")
    return [row for path in tables for row in pq.read_table(path).to_pylist() if row["stage"] == "load"]


def fingerprint(out):
    return json.loads((out / "database/plan.json").read_text())["dataset"]["fingerprint"]


def test_an_object_store_that_fails_now_and_then(commands, reference, s3, tmp_path):
    """Output and data lie there. Requests that fail in passing are tried again; then writing is forbidden."""
    s3.faults = [Fault(503, 0.03), Fault("reset", 0.03, ("GET", "HEAD")), Fault("lost", 0.2, ("PUT",))]
    result = make(commands, s3, data="s3://bucket/data")
    if result.code:
        # Several attempts failed in a row.
        assert error_line(result).endswith(RESUME)
        s3.faults = []
        result = make(commands, s3, data="s3://bucket/data")
    assert_done(result)
    assert_same_there(s3, tmp_path, reference)
    assert s3.failed["lost"] > 2


@pytest.mark.faults_long
@pytest.mark.parametrize("name", PASSING)
def test_requests_that_fail_in_passing(commands, reference, s3, tmp_path, name):
    s3.faults = PASSING[name]
    result = make(commands, s3)
    if result.code:
        error_line(result)
        s3.faults = []
        result = make(commands, s3)
    assert result.code == 0, result
    assert_same_there(s3, tmp_path, reference)
    assert s3.failed


@pytest.mark.faults_long
@pytest.mark.parametrize("name", LASTING)
def test_an_object_store_that_cannot_be_used(commands, reference, s3, tmp_path, name):
    s3.faults = LASTING[name]
    error = error_line(make(commands, s3))
    assert f"s3://{s3.place}" in error, error
    s3.faults = []
    result = make(commands, s3)
    assert result.code == 0, result
    assert_same_there(s3, tmp_path, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("name", OF_DATA)
def test_data_that_cannot_be_read_now_is_no_reject(commands, reference, s3, tmp_path, name):
    out, data = tmp_path / "out", "s3://bucket/data"
    s3.faults = OF_DATA[name]
    error = error_line(make(commands, s3, "--max-reject-share", 1, out=out, data=data))
    assert data in error, error
    assert rejected(out) == []
    s3.faults = []
    assert_done(make(commands, s3, out=out, data=data))
    assert_same(out, reference)
    assert fingerprint(out) == fingerprint(reference)


@pytest.mark.faults_long
def test_data_that_fails_in_passing_is_no_reject(commands, reference, s3, tmp_path):
    for number, fault in enumerate([Fault(403, 0.15), Fault(503, 0.2), Fault("reset", 0.3), Fault(404, 0.2)]):
        out, data = tmp_path / f"out{number}", "s3://bucket/data"
        fault.methods, fault.path = ("GET",), "/data/(img|inst)/"
        s3.faults = [fault]
        result = make(commands, s3, "--max-reject-share", 1, out=out, data=data)
        if result.code:
            assert data in error_line(result)
            assert rejected(out) == []
            s3.faults = []
            assert_done(make(commands, s3, out=out, data=data))
        assert_same(out, reference)


@pytest.mark.faults_long
def test_a_killed_run_is_resumed(commands, reference, s3, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    held = "pathlib.Path(args[1]).stem > 'part-00000'"
    lines = hold("agg_pipeline.storage.store:Store.write", gate, f"{SIDECAR} and {held}")
    environment = s3.environment() | shim(tmp_path, QUICK_LOCK, "import pathlib", lines)
    running = commands.proposals(f"s3://{s3.place}", "--workers", 1, environment=environment)
    running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
    assert "is being written by another run" in error_line(make(commands, s3))
    running.signal(signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL
    gate.unlink()
    result = make(commands, s3)
    assert result.code == 0, result
    assert "finished already: 1 of 4 images" in result.stdout
    assert_same_there(s3, tmp_path, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("lock", ["none", "dead"])
def test_of_three_runs_in_the_same_instant_one_succeeds(commands, reference, s3, tmp_path, lock):
    gate, created = tmp_path / "gate", tmp_path / "created"
    if lock == "dead":
        other = {"run": "x", "host": "elsewhere", "pid": 7, "table": "x", "started": "1", "beat": "0"}
        s3.files().pipe_file(f"{s3.place}/database/lock.json", json.dumps(other).encode())
    gate.touch()
    # All of them have seen that nobody lives there before the first one makes its lock.
    runs = []
    for number in range(3):
        own = gate.with_name(f"gate{number}")
        own.touch()
        lines = hold("agg_pipeline.storage.store:Store.create", own)
        environment = s3.environment() | shim(tmp_path, QUICK_LOCK, lines)
        runs.append((commands.proposals(f"s3://{s3.place}", "--workers", 1, environment=environment), own))
    for run, own in runs:
        run.wait_for(own.with_name(own.name + "-waits").exists, "a run that wants the folder")
    for _, own in runs:
        own.unlink()
    ends = sorted((run.end() for run, _ in runs), key=lambda end: end.code)
    assert [end.code for end in ends] == [0, 2, 2], ends
    for end in ends[1:]:
        assert "is being written by another run" in error_line(end)
    assert_same_there(s3, tmp_path, reference)
    assert not created.exists()


@pytest.mark.faults_long
def test_an_object_that_was_damaged(commands, reference, s3, tmp_path):
    s3.upload(reference, s3.place)
    path = f"{s3.place}/database/proposals/part-00003.parquet"
    content = bytearray(s3.files().cat_file(path))
    content[len(content) // 2] ^= 1
    s3.files().pipe_file(path, bytes(content))
    environment = s3.environment()
    validated = commands.start("proposals", "validate", f"s3://{s3.place}", environment=environment).end()
    assert validated.code == 1
    assert "part-00003" in validated.stdout + validated.stderr
    assert make(commands, s3, "--verify").code == 0
    assert_same_there(s3, tmp_path, reference)


@pytest.mark.faults_long
def test_a_store_that_goes_away_while_a_run_works(commands, reference, s3, tmp_path):
    deadline = time.monotonic() + PATIENCE
    for fault in (Fault(503), Fault("reset"), Fault(403)):
        gate = tmp_path / "gate"
        gate.touch()
        waits = gate.with_name("gate-waits")
        waits.unlink(missing_ok=True)
        lines = hold("agg_pipeline.storage.store:Store.write", gate, SIDECAR)
        environment = s3.environment() | shim(tmp_path, QUICK_LOCK, QUICK_RETRIES, lines)
        running = commands.proposals(f"s3://{s3.place}", "--workers", 1, environment=environment)
        running.wait_for(waits.exists, "a shard at the gate")
        s3.faults = [fault]
        gate.unlink()
        error = error_line(running.end())
        assert f"s3://{s3.place}" in error
        assert error.endswith(RESUME)
        s3.faults = []
    assert time.monotonic() < deadline * 2
    # Its lock could not be deleted; the process that it names is dead.
    result = make(commands, s3)
    assert result.code == 0, result
    assert_same_there(s3, tmp_path, reference)
    assert database(reference)
    assert sidecars(reference)
