"""Workers that are killed, hang, or see other files, programs and disks than the process that started the run."""

import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agg_pipeline.models.checkpoints import default_checkpoint
from tests.e2e.commands import ROOT, invoke
from tests.faults.clusters import Cluster, under_nanny
from tests.faults.namespaces import needs_namespace, read_only, small_disk, without
from tests.faults.processes import (
    SIDECAR,
    assert_clean,
    assert_done,
    assert_same,
    assign,
    error_line,
    hold,
    shim,
    sidecars,
)

RESUME = "run the same command again to resume"


@pytest.fixture
def cluster(commands, tmp_path):
    """A scheduler without workers."""
    return Cluster(commands, tmp_path)


@pytest.fixture
def gate(tmp_path):
    """While this file is there, workers stop before they finish a shard."""
    return tmp_path / "gate"


def held(tmp_path, gate, shards=0):
    """The environment of workers that stop at the gate after so many finished shards."""
    finished = f"len(list(pathlib.Path(args[0].url).glob('shards/*'))) >= {shards}"
    lines = hold("agg_pipeline.storage.store:Store.write", gate, f"{SIDECAR} and {finished}")
    return shim(tmp_path, "import pathlib", lines)


def begin_held(commands, tmp_path, gate, out, *options, shards=1, **how):
    """Start a run, and wait until it has finished so many shards and holds the next one."""
    gate.touch()
    running = commands.proposals(out, *options, environment=held(tmp_path, gate, shards), **how)
    running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
    return running


def rejected(out):
    """Rows of the rejects that say that an image could not be loaded."""
    tables = (out / "database/rejects").glob("*.parquet")
    return [row for path in tables for row in pq.read_table(path).to_pylist() if row["stage"] == "load"]


# Killed


def kill_one(running):
    running.workers()[0].kill()


def kill_all(running):
    """Again as soon as there are others, which is once less than is allowed for a task."""
    for _ in range(2):
        before = running.workers()
        for each in before:
            each.kill()
        running.wait_for(lambda gone=before: set(running.workers()) - set(gone), "new workers")


def kill_forkserver(running):
    running.forkserver()[0].kill()


def kill_forkserver_and_worker(running):
    workers = running.workers()
    running.forkserver()[0].kill()
    workers[0].kill()


def kill_tracker(running):
    running.tracker()[0].kill()


@pytest.mark.parametrize(
    "kill",
    [
        kill_one,
        pytest.param(kill_all, marks=pytest.mark.faults_long),
        pytest.param(kill_forkserver, marks=pytest.mark.faults_long),
        pytest.param(kill_forkserver_and_worker, marks=pytest.mark.faults_long),
        pytest.param(kill_tracker, marks=pytest.mark.faults_long),
    ],
)
def test_killed_processes_of_a_run_do_not_change_its_bytes(commands, reference, tmp_path, gate, kill):
    out = tmp_path / "out"
    running = begin_held(commands, tmp_path, gate, out, "--workers", 2)
    kill(running)
    gate.unlink()
    ended = running.end()
    if ended.code:
        assert kill in (kill_forkserver, kill_forkserver_and_worker), ended
        assert error_line(ended).endswith(RESUME)
        assert_clean(out)
        assert_done(commands.make(out))
    assert_same(out, reference)


def test_a_worker_that_is_killed_while_it_writes_a_file(commands, reference, tmp_path, gate):
    out = tmp_path / "out"
    gate.touch()
    lines = hold("agg_pipeline.storage.disk:put", gate, "'part-00001.parquet' in str(args[1])")
    running = commands.proposals(out, "--workers", 1, environment=shim(tmp_path, lines))
    running.wait_for(gate.with_name("gate-waits").exists, "a file under its temporary name")
    assert list((out / "database").rglob(".tmp-*"))
    kill_one(running)
    gate.unlink()
    assert_done(running.end())
    assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("instant", [0.0, 0.3, 0.8, 1.5])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_lost_while_it_starts(commands, reference, tmp_path, number, instant):
    out = tmp_path / "out"
    # Seconds that are long in the product are short here.
    times = assign(execution__local_workers__START_SECONDS=15.0)
    environment = shim(tmp_path, times) | {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s"}
    running = commands.proposals(out, "--workers", 2, environment=environment)
    running.wait_for(running.workers, "a worker process")
    time.sleep(instant)
    found = running.workers()
    if found:
        found[0].send_signal(number)
    ended = running.end()
    if ended.code:
        assert error_line(ended).endswith(RESUME)
        assert_clean(out)
        assert_done(commands.make(out))
    assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize(("workers", "kills"), [(1, 1), (2, 5)])
def test_workers_that_are_killed_one_after_the_other_while_they_start(commands, reference, tmp_path, workers, kills):
    out = tmp_path / "out"
    running = commands.proposals(out, "--workers", workers)
    killed = set()

    def all_killed():
        for each in running.workers():
            if each.pid not in killed and len(killed) < kills:
                each.kill()
                killed.add(each.pid)
        return len(killed) == kills

    running.wait_for(all_killed, "workers to kill")
    assert_done(running.end())
    assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("inodes", [1, 2, 4, 8])
def test_a_temporary_folder_without_room_for_files(commands, reference, tmp_path, inodes):
    out = tmp_path / "out"
    # Sockets need a short path.
    with (
        tempfile.TemporaryDirectory(prefix="agg-") as short,
        small_disk(Path(short) / "disk", f"size=1m,nr_inodes={inodes}") as disk,
    ):
        ended = commands.make(out, "--workers", 1, environment={"TMPDIR": str(disk)})
    if ended.code:
        assert "No space left on device" in error_line(ended)
        assert_clean(out)
        assert_done(commands.make(out))
    assert_same(out, reference)


@pytest.mark.faults_long
def test_a_temporary_folder_with_a_long_path(commands, tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    error = error_line(commands.make(tmp_path / "out", environment={"TMPDIR": str(folder)}))
    assert " processes can only meet in one of at most 75; set TMPDIR to a folder with a shorter path (" in error


@pytest.mark.faults_long
def test_the_process_that_started_the_run_is_killed(commands, reference, tmp_path, gate):
    """Its workers end by themselves, and the lock that it leaves is in nobody's way."""
    out = tmp_path / "out"
    running = begin_held(commands, tmp_path, gate, out, "--workers", 2)
    running.signal(signal.SIGKILL)
    gate.unlink()
    assert running.end().code == -signal.SIGKILL
    assert (out / "database/lock.json").exists()
    assert_done(commands.make(out))
    assert_same(out, reference)


@pytest.mark.faults_long
def test_a_worker_that_hangs_at_work(commands, reference, tmp_path, gate):
    out = tmp_path / "out"
    gate.touch()
    environment = held(tmp_path, gate, 1) | {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s"}
    running = commands.proposals(out, "--workers", 2, environment=environment)
    running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
    running.workers()[0].send_signal(signal.SIGSTOP)
    gate.unlink()
    assert_done(running.end())
    assert_same(out, reference)


@pytest.mark.faults_long
def test_a_clock_that_is_set_back(commands, reference, tmp_path):
    """Workers that report how far they are live, though Dask sends no heartbeats until the clock has caught up."""
    out, gate, back = tmp_path / "out", tmp_path / "gate", tmp_path / "back"
    gate.touch()
    clock = f"""
import importlib, os, pathlib, time
real_time, gate, back = time.time, pathlib.Path({str(gate)!r}), pathlib.Path({str(back)!r})
began = time.monotonic()
time.time = lambda: real_time() - (7200.0 if os.path.exists(back) else 0.0)
tasks = importlib.import_module("agg_pipeline.execution.worker_tasks")
run_batches = tasks.run_batches
def slow(stage, state, model, part, parts, update):
    from agg_pipeline.execution.chain import Advance
    while gate.exists():
        gate.with_name("gate-waits").touch()
        update(Advance(0.0, 0))
        time.sleep(0.3)
        # A message that Dask holds back in the instant of the change would come when the clock has caught up.
        if time.monotonic() > began + 5:
            back.touch()
        time.sleep(0.2)
    return run_batches(stage, state, model, part, parts, update)
tasks.run_batches = slow
"""
    times = assign(execution__waiting__NO_WORKER_SECONDS=10.0, execution__waiting__HEARTBEAT_SECONDS=1.0)
    running = commands.proposals(out, "--workers", 1, environment=shim(tmp_path, clock, times))
    running.wait_for(back.exists, "the clock that is set back")
    began = time.monotonic()
    running.wait_for(lambda: time.monotonic() > began + 20, "a time that is longer than a run waits for its workers")
    gate.unlink()
    assert_done(running.end())
    assert_same(out, reference)


# On an existing cluster


@pytest.mark.faults_long
def test_killed_workers_and_nannies_of_a_cluster(cluster, commands, reference, tmp_path, gate):
    for name in ("worker", "nanny", "all"):
        out = tmp_path / name
        gate.touch()
        nannies = [cluster.start_worker("--nworkers", 1, environment=held(tmp_path, gate, 1)) for _ in range(2)]
        running = commands.proposals(out, "--scheduler", cluster.address)
        running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
        if name == "worker":
            under_nanny(nannies[0]).kill()
        elif name == "nanny":
            nannies[0].signal(signal.SIGKILL)
        else:
            cluster.stop_workers()
            cluster.start_worker()
        gate.unlink()
        assert_done(running.end())
        assert_same(out, reference)
        cluster.stop_workers()


@pytest.mark.faults_long
@pytest.mark.parametrize("instant", ["while the model is opened", "at the first shard", "at the last shard", "stopped"])
def test_a_killed_scheduler(cluster, commands, reference, tmp_path, gate, instant):
    out = tmp_path / "out"
    opening = hold("agg_pipeline.models.checkpoints:load_click_model", gate)
    shards = 3 if "last" in instant else 0
    environment = shim(tmp_path, opening) if "model" in instant else held(tmp_path, gate, shards)
    gate.touch()
    cluster.start_worker(environment=environment)
    running = commands.proposals(out, "--scheduler", cluster.address)
    running.wait_for(gate.with_name("gate-waits").exists, "a worker at the gate")
    cluster.scheduler.signal(signal.SIGSTOP if instant == "stopped" else signal.SIGKILL)
    if instant == "stopped":
        gate.unlink()
        cluster.scheduler.signal(signal.SIGCONT)
        assert_done(running.end())
        assert_same(out, reference)
        return
    error = error_line(running.end())
    assert error == "the connection to the Dask scheduler is lost; finished shards are kept; " + RESUME
    assert_clean(out)
    gate.unlink()
    cluster.restart()
    cluster.start_worker()
    assert_done(commands.make(out, "--scheduler", cluster.address))
    assert_same(out, reference)


def stop_scheduler(commands, cluster, tmp_path, gate, out, *values):
    """Start a run, and stop its scheduler when a shard is at the gate."""
    gate.touch()
    cluster.start_worker(environment=held(tmp_path, gate, 1))
    environment = shim(tmp_path, *values)
    running = commands.proposals(out, "--scheduler", cluster.address, environment=environment)
    running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
    cluster.scheduler.signal(signal.SIGSTOP)
    return running


def test_a_scheduler_that_does_not_answer_any_more(cluster, commands, reference, tmp_path, gate):
    out = tmp_path / "out"
    # With its first task the scheduler imports torch, and does not answer meanwhile.
    times = assign(execution__workers__ANSWER_SECONDS=10.0, execution__waiting__HEARTBEAT_SECONDS=1.0)
    quick = times, assign(execution__cluster__LEAVE_SECONDS=1)
    running = stop_scheduler(commands, cluster, tmp_path, gate, out, *quick)
    assert error_line(running.end()) == (
        f"the Dask scheduler has not answered for 10 s (stopped, or too busy); finished shards are kept; {RESUME}"
    )
    assert_clean(out)
    gate.unlink()
    cluster.scheduler.signal(signal.SIGCONT)
    assert_done(commands.make(out, "--scheduler", cluster.address))
    assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("who", ["scheduler", "worker"])
def test_what_hangs_before_a_run_begins(cluster, commands, tmp_path, gate, who):
    """The scheduler stops when the run has connected to it; a worker before."""
    out = tmp_path / "out"
    gate.touch()
    cluster.start_worker()
    times = assign(
        execution__workers__ANSWER_SECONDS=2.0,
        execution__cluster__LEAVE_SECONDS=1,
        execution__cluster__REGISTER_SECONDS=1.0,
    )
    if who == "worker":
        cluster.workers[0].signal(signal.SIGSTOP)
        gate.unlink()
    environment = shim(tmp_path, times, hold("agg_pipeline.execution.cluster:_register", gate))
    running = commands.proposals(out, "--scheduler", cluster.address, environment=environment)
    if who == "scheduler":
        running.wait_for(gate.with_name("gate-waits").exists, "a run that has connected")
        cluster.scheduler.signal(signal.SIGSTOP)
        gate.unlink()
    error = error_line(running.end())
    said = {
        "scheduler": "the Dask scheduler has not answered for 2 s (stopped, or too busy); ",
        "worker": "a worker of the Dask cluster has not answered for 3 s; end the one that hangs (tcp://127.0.0.1:",
    }
    assert error.startswith(said[who]), error
    assert_clean(out)


@pytest.mark.faults_long
def test_a_run_whose_scheduler_does_not_answer_is_stopped(cluster, commands, tmp_path, gate):
    out = tmp_path / "out"
    running = stop_scheduler(commands, cluster, tmp_path, gate, out, assign(execution__waiting__HEARTBEAT_SECONDS=1.0))
    time.sleep(3)
    running.signal(signal.SIGTERM)
    ended = running.end()
    assert (ended.code, ended.stderr) == (130, f"stopped; finished shards are kept; {RESUME}\n")
    assert_clean(out)


def test_a_worker_without_the_data_makes_no_reject(cluster, commands, reference, tmp_path):
    """After its mount is repaired, the same command makes the bytes of an undisturbed run."""
    prefix = without(commands.data)
    needs_namespace(prefix)
    out = tmp_path / "out"
    cluster.start_worker(prefix=prefix)
    error = error_line(commands.make(out, "--scheduler", cluster.address, "--max-reject-share", 1))
    assert re.match(rf"worker tcp://127\.0\.0\.1:\d+: .*{commands.data}", error), error
    assert error.endswith(RESUME)
    assert rejected(out) == []
    assert_clean(out)
    cluster.stop_workers()
    cluster.start_worker()
    assert_done(commands.make(out, "--scheduler", cluster.address))
    assert_same(out, reference)
    assert invoke("proposals", "validate", out).code == 0


@pytest.mark.faults_long
def test_one_of_two_workers_lacks_the_data(cluster, commands, reference, tmp_path):
    prefix = without(commands.data)
    needs_namespace(prefix)
    out = tmp_path / "out"
    cluster.start_worker()
    cluster.start_worker(prefix=prefix)
    error = error_line(commands.make(out, "--scheduler", cluster.address, "--max-reject-share", 1))
    assert error.startswith("worker tcp://127.0.0.1:")
    assert rejected(out) == []
    cluster.stop_workers()
    cluster.start_worker()
    assert_done(commands.make(out, "--scheduler", cluster.address))
    assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("view", [without, read_only])
def test_a_worker_that_sees_another_output_folder(cluster, commands, reference, tmp_path, view):
    out = tmp_path / "out"
    out.mkdir()
    prefix = view(out)
    needs_namespace(prefix)
    cluster.start_worker(prefix=prefix)
    error = error_line(commands.make(out, "--scheduler", cluster.address))
    if view is read_only:
        assert re.match(rf"worker tcp://\S+: cannot write {out}/database/\S+: Read-only file system; ", error), error
    else:
        assert re.match(rf"worker tcp://\S+: {out}/database/lock\.json is gone: .* a worker does not see", error), error
    assert sidecars(out) == []
    assert_clean(out)
    cluster.stop_workers()
    cluster.start_worker()
    assert_done(commands.make(out, "--scheduler", cluster.address))
    assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("late", [False, True])
def test_a_worker_without_the_model_file(cluster, commands, tmp_path, gate, late):
    models = tmp_path / "models"
    models.mkdir()
    checkpoint = shutil.copy(default_checkpoint(), models)
    prefix = without(models)
    needs_namespace(prefix)
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = ("--scheduler", cluster.address, "--checkpoint", checkpoint)
    gate.touch()
    cluster.start_worker(environment=held(tmp_path, gate, 1 if late else 0))
    if late:
        running = commands.proposals(out, *command)
        running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
        cluster.start_worker(prefix=prefix)
        # What the first worker holds can be made by the second one alone, after the first is gone.
        cluster.workers.pop(0).clean_up()
    else:
        cluster.start_worker(prefix=prefix)
        running = commands.proposals(out, *command)
        gate.unlink()
    ended = running.end()
    if ended.code == 0:
        # The worker that could not open the model was given nothing to do.
        assert not late
    else:
        error = error_line(ended)
        assert re.match(rf"worker tcp://\S+: .*{re.escape(str(checkpoint))}", error), error
        assert_clean(out)
    gate.unlink(missing_ok=True)
    cluster.stop_workers()
    cluster.start_worker()
    assert_done(commands.make(out, *command))
    assert_done(commands.make(whole, "--checkpoint", checkpoint))
    assert_same(out, whole)


def other_code(tmp_path):
    """A checkout whose granularities are half as large."""
    copy = tmp_path / "checkout"
    for name in ("agg_pipeline", "stages", "schemas"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / "stages/granularity.py"
    path.write_text(path.read_text() + "\n# another version\n")
    return {"PYTHONPATH": str(copy)}


def other_torch(tmp_path):
    return shim(tmp_path, "import torch", "torch.__version__ = '2.99.0'")


def other_cpu(tmp_path):
    return shim(tmp_path, "import torch", "torch.backends.cpu.get_cpu_capability = lambda: 'VECTOR'")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (other_code, "another program than in the process that started the run: this package is "),
        pytest.param(other_torch, "torch is 2.99.0 there, and ", marks=pytest.mark.faults_long),
        pytest.param(other_cpu, "computes other bytes than the first worker of the run", marks=pytest.mark.faults_long),
    ],
)
def test_a_worker_that_would_make_other_bytes_is_refused(cluster, commands, reference, tmp_path, gate, other, said):
    """It joins while another worker has two shards in hand, and is given the next ones."""
    out = tmp_path / "out"
    gate.touch()
    cluster.start_worker(environment=held(tmp_path, gate, 1))
    running = commands.proposals(out, "--scheduler", cluster.address)
    running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
    cluster.start_worker(environment=other(tmp_path))
    gate.unlink()
    ended = running.end()
    if ended.code:
        error = error_line(ended)
        assert error.startswith("worker tcp://127.0.0.1:")
        assert said in error
        assert_clean(out)
        cluster.workers.pop().clean_up()
        assert_done(commands.make(out, "--scheduler", cluster.address))
    assert_same(out, reference)


@pytest.mark.faults_long
def test_a_paused_worker_is_named(cluster, commands, tmp_path):
    """It is above its memory limit, and starts no task: nothing would ever advance."""
    out = tmp_path / "out"
    memory = {
        "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "0.8",
        "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False",
        "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    }
    cluster.start_worker("--memory-limit", "200MiB", "--nworkers", 1, environment=memory)
    quick = shim(tmp_path, assign(execution__waiting__PAUSED_SECONDS=3.0, execution__waiting__HEARTBEAT_SECONDS=1.0))
    error = error_line(commands.make(out, "--scheduler", cluster.address, environment=quick))
    found = re.match(
        r"worker tcp://\S+ is paused, and nothing has advanced for 3 s: it uses (\d+) MiB of its memory limit of 200 ",
        error,
    )
    assert found, error
    assert int(found[1]) > 160
    assert_clean(out)
