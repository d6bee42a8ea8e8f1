"""Several runs that want one output folder: on one machine, in containers, on machines whose clocks disagree."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agg_pipeline.storage.process_life import process_start
from tests.e2e.commands import invoke
from tests.e2e.small_set import SIZES
from tests.faults.clusters import Cluster
from tests.faults.namespaces import PID, TIME, host, mounted, needs_namespace
from tests.faults.processes import (
    SIDECAR,
    assert_clean,
    assert_done,
    assert_same,
    assign,
    database,
    error_line,
    hold,
    shim,
    sidecars,
)

QUICK_LOCK = assign(
    storage__lock__HEARTBEAT_SECONDS=0.3, storage__lock__LOOK_SECONDS=0.1, storage__lock__DEAD_AFTER_SECONDS=4.0
)
"""The lock's times, shorter, in a child process."""
REFUSED = re.compile(
    r"\S+ is being written by another run \(process (\d+) on (\S+)\); wait for it or choose another .*"
)
LOST = re.compile(r"another run \(process \d+ on \S+\) has taken over \S+, because it considered this one dead; .*")


def hidden(hidepid):
    """Another user of a machine that hides the processes of others; he may read and write all files."""
    files = "+dac_override,+dac_read_search"
    user = ("--reuid", "65534", "--regid", "65534", "--clear-groups")
    capabilities = ("--inh-caps", files, "--ambient-caps", files)
    return (*mounted(f"mount -t proc -o hidepid={hidepid} proc /proc"), "setpriv", *user, *capabilities)


def clock(seconds):
    """Lines for a child process whose clock is wrong."""
    return f"import time\n_now = time.time\ntime.time = lambda: _now() + {seconds}\n"


def moved_boot(folder, seconds):
    """A machine whose boot time has moved with its clock."""
    stat = folder / f"stat{seconds}"
    text = Path("/proc/stat").read_text()
    stat.write_text(re.sub(r"btime (\d+)", lambda found: f"btime {int(found[1]) + seconds}", text))
    return mounted(f"mount --bind '{stat}' /proc/stat")


@pytest.fixture
def first(commands, tmp_path):
    """A run that lives and is about to finish a shard; what lets it go on; its output folder."""
    out, gate = tmp_path / "out", tmp_path / "gate"
    gate.touch()
    environment = shim(tmp_path, QUICK_LOCK, hold("agg_pipeline.storage.store:Store.write", gate, SIDECAR))
    running = commands.proposals(out, "--workers", 1, environment=environment)
    running.wait_for(gate.with_name("gate-waits").exists, "a shard that is nearly finished")
    return running, gate, out


def refused(first, commands, reference, seconds):
    """Second runs end with the line that names the first one, which then finishes undisturbed.

    Args:
        first: the fixture.
        commands: the fixture.
        reference: the fixture.
        seconds: by name, how a second run is started: output folder, prefix, lines for ``shim``.
    """
    running, gate, out = first
    started = {
        name: commands.proposals(
            *(place, "--seed", 1), prefix=prefix, environment=shim(commands.folder, QUICK_LOCK, lines)
        )
        for name, (place, prefix, lines) in seconds.items()
    }
    for name, second in started.items():
        found = REFUSED.fullmatch(error_line(second.end()))
        assert found, (name, second.result())
        assert found.groups() == (str(running.pid), socket.gethostname()), name
        assert running.process.poll() is None
    gate.unlink()
    assert_done(running.end())
    assert_same(out, reference)
    assert invoke("proposals", "validate", out).code == 0


def test_a_container_and_a_machine_with_a_wrong_clock_are_refused(first, commands, reference):
    out = first[2]
    needs_namespace(PID)
    refused(first, commands, reference, {"container": (out, PID, ""), "late": (out, (), clock(-600))})


@pytest.mark.parametrize("hidepid", [1, 2])
def test_another_user_cannot_see_whether_a_run_lives(hidepid):
    needs_namespace(hidden(hidepid))
    look = (
        "import sys; from agg_pipeline.storage.process_life import process_lives, process_table; "
        "print(process_lives(process_table(), int(sys.argv[1]), sys.argv[2]))"
    )

    def seen(prefix):
        command = (*prefix, sys.executable, "-c", look, other.pid, started)
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout.strip()

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = process_start(other.pid)
        assert (seen(()), seen(hidden(hidepid))) == ("True", "None")
        other.communicate(b"\n")
    assert (seen(()), seen(hidden(hidepid))) == ("False", "False")


@pytest.mark.faults_long
def test_every_second_run_is_refused_while_the_first_lives(first, commands, reference, tmp_path):
    out = first[2]
    link, bound = tmp_path / "link", tmp_path / "bound"
    link.symlink_to(out)
    bound.mkdir()
    for prefix in (PID, host("b"), TIME, mounted("true"), hidden(1)):
        needs_namespace(prefix)
    seconds = {
        "early": (out, (), clock(600)),
        "another host": (out, host("elsewhere"), clock(-600)),
        "another host and container": (out, (*host("elsewhere"), *PID), clock(600)),
        "another time since boot": (out, TIME, ""),
        "boot a second later": (out, moved_boot(tmp_path, 1), ""),
        "boot ten minutes earlier": (out, moved_boot(tmp_path, -600), ""),
        "another user, processes without content": (out, hidden(1), ""),
        "another user, no processes": (out, hidden(2), ""),
        "link": (link, (), ""),
        "bind mount": (bound, mounted(f"mount --bind '{out}' '{bound}'"), ""),
    }
    refused(first, commands, reference, seconds)


def traced(file):
    """Lines for a worker that leaves a file when it has written a shard, or has refused to."""
    return f"""
import agg_pipeline.execution.job as _job
def _trace(write):
    import pathlib
    def traced(*args):
        try:
            return write(*args)
        finally:
            pathlib.Path({str(file)!r}).touch()
    return traced
_job._write_owned = _trace(_job._write_owned)
"""


def command(commands, kind, out, *options, **how):
    """Start a run on the small set that writes a page: of proposals, or an evaluation."""
    written = ("--data", commands.data, "--out", out, "--workers", 1, *options)
    if kind == "proposals":
        return commands.start("proposals", "run", *SIZES, "--gallery-images", 2, *written, **how)
    sizes = ("--dataset", "sbd", "--split", "train", "--input-size", 64, "--max-clicks", 2, "--pictures", 1)
    return commands.start("eval", "run", *sizes, *written, **how)


LONG = pytest.mark.faults_long
PAGES = {
    "proposals": ("agg_pipeline.report.gallery:write_gallery", "agg_pipeline.report.gallery:filled", "report"),
    "evaluation": (
        "agg_pipeline.cli.eval.evaluating:write_report",
        "agg_pipeline.evaluation.evaluation_page:filled",
        "",
    ),
}
"""By kind of run: what writes its page, what fills it, and the folder that it lies in."""


def held_at_its_page(commands, kind, out, gate, place, **how):
    environment = shim(commands.folder, QUICK_LOCK, f"import {place.partition(':')[0]}", hold(place, gate))
    gate.touch()
    running = command(commands, kind, out, environment=environment, **how)
    running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "a run that writes its page")
    return running


@pytest.mark.parametrize("kind", [kind if kind == "proposals" else pytest.param(kind, marks=LONG) for kind in PAGES])
def test_a_run_that_writes_its_page_still_owns_the_folder(commands, tmp_path, kind):
    out, gate = tmp_path / "out", tmp_path / "gate"
    running = held_at_its_page(commands, kind, out, gate, PAGES[kind][0])
    assert REFUSED.fullmatch(error_line(command(commands, kind, out, "--seed", 1, "--overwrite").end()))
    gate.unlink()
    assert_done(running.end())
    assert_clean(out)


@pytest.mark.faults_long
@pytest.mark.parametrize("kind", PAGES)
def test_a_run_that_is_suspended_while_it_draws_its_page(commands, tmp_path, kind):
    """Another run takes the folder over and finishes; its page and its timings stay."""
    needs_namespace(PID)
    out, gate, (_, fills, folder) = tmp_path / "out", tmp_path / "gate", PAGES[kind]
    running = held_at_its_page(commands, kind, out, gate, fills, prefix=PID)
    family = frozen(running)
    second = command(commands, kind, out, "--seed", 1, "--overwrite", environment=shim(tmp_path, QUICK_LOCK)).end()
    assert second.code == 0, second

    def written():
        return {path.name: path.read_bytes() for path in (out / folder).iterdir() if path.suffix in (".html", ".json")}

    before = written()
    assert len(before) >= 2
    gate.unlink()
    for each in family:
        each.send_signal(signal.SIGCONT)
    ended = running.end()
    assert re.search(r"lock\.json is gone|has taken over", error_line(ended)), ended
    assert "shows" not in ended.stdout
    assert written() == before


@pytest.fixture
def orphan(commands, tmp_path):
    """The client of a run on a cluster was killed while a worker writes a table; output folder, what lets it go on."""
    out, gate, done = tmp_path / "out", tmp_path / "gate", tmp_path / "done"
    cluster = Cluster(commands, tmp_path)
    lines = hold("agg_pipeline.storage.store:Store.write", gate, "str(args[1]) == 'proposals/part-00001.parquet'")
    cluster.start_worker("--no-nanny", environment=shim(tmp_path, lines, traced(done)))
    gate.touch()
    running = commands.proposals(out, "--scheduler", cluster.address)
    running.wait_for(gate.with_name("gate-waits").exists, "a worker that writes a table")
    running.process.kill()
    running.process.wait()
    done.unlink(missing_ok=True)

    def go_on():
        gate.unlink()
        cluster.workers[0].wait_for(done.exists, "the end of the shard")

    return out, go_on


@pytest.mark.faults_long
def test_a_worker_that_outlives_its_client_publishes_nothing(commands, other_seed, orphan):
    """The next run has finished before the storage answers: tables of one shard are replaced, and that is found."""
    out, go_on = orphan
    assert commands.make(out, "--workers", 1, "--overwrite", "--seed", 1).code == 0
    assert_same(out, other_seed)
    go_on()
    changed = {path for path, content in database(other_seed).items() if database(out)[path] != content}
    # Every file names the configuration of its run.
    assert changed == {f"{table}/part-00001.parquet" for table in ("images", "proposals", "rejects")}
    found = invoke("proposals", "validate", out)
    assert found.code == 1
    assert all(f"{path} " in found.stdout for path in changed), found
    assert commands.make(out, "--workers", 1, "--seed", 1, "--verify").code == 0
    assert_same(out, other_seed)


@pytest.mark.faults_long
def test_a_run_that_takes_over_from_a_cluster_compares_checksums(commands, other_seed, orphan, tmp_path):
    """The worker's table arrives while the next run, which is killed once, is about to finish."""
    out, go_on = orphan
    gate = tmp_path / "end"
    gate.touch()
    environment = shim(tmp_path, hold("agg_pipeline.proposals.run:check_end", gate))
    second = commands.proposals(out, "--workers", 1, "--overwrite", "--seed", 1, environment=environment)
    second.wait_for(gate.with_name("end-waits").exists, "the second run's end")
    second.clean_up()
    gate.with_name("end-waits").unlink()
    third = commands.proposals(out, "--workers", 1, "--seed", 1, environment=environment)
    third.wait_for(gate.with_name("end-waits").exists, "the third run's end")
    go_on()
    gate.unlink()
    line = error_line(third.end())
    assert re.match(r"a run that was considered dead has written or removed files of 1 shard of .*with --verify", line)
    assert commands.make(out, "--workers", 1, "--seed", 1, "--verify").code == 0
    assert_same(out, other_seed)


def frozen(running):
    """Stop all processes of a run, as when its virtual machine is suspended."""
    family = running.family()
    for each in family:
        each.send_signal(signal.SIGSTOP)
    return family


def test_a_run_that_was_suspended_too_long_stops(commands, other_seed, tmp_path):
    """Another run takes its folder over with --overwrite and another seed, and finishes before it wakes up."""
    needs_namespace(PID)
    out, gate = tmp_path / "out", tmp_path / "gate"
    # In a container, so that the other run cannot look its process up; held before it checks who owns the folder.
    lines = hold(
        "agg_pipeline.execution.job:_write_owned", gate, "len(list(pathlib.Path(args[3].url).glob('shards/*')))"
    )
    running = commands.proposals(
        out, "--workers", 1, prefix=PID, environment=shim(tmp_path, QUICK_LOCK, "import pathlib", lines)
    )
    gate.touch()
    running.wait_for(gate.with_name("gate-waits").exists, "a shard that is nearly finished")
    assert len(sidecars(out)) == 1
    family = frozen(running)
    second = commands.make(out, "--workers", 1, "--overwrite", "--seed", 1, environment=shim(tmp_path, QUICK_LOCK))
    assert second.code == 0, second
    (warning,) = second.stderr.splitlines()
    assert re.match(r"WARNING: \S+ is locked by process \d+ on \S+; it is taken over unless that run gives", warning)
    gate.unlink()
    for each in family:
        each.send_signal(signal.SIGCONT)
    line = error_line(running.end())
    assert re.search(r"lock\.json is gone|has taken over", line), line
    assert_same(out, other_seed)
    assert json.loads((out / "database/plan.json").read_text())["seed"] == 1
    assert invoke("proposals", "validate", out).code == 0


@pytest.mark.faults_long
def test_a_run_that_wakes_up_while_the_other_one_works(commands, other_seed, tmp_path):
    needs_namespace(PID)
    out, gate, other_gate = tmp_path / "out", tmp_path / "gate", tmp_path / "other"
    lines = hold("agg_pipeline.execution.job:_write_owned", gate)
    gate.touch()
    running = commands.proposals(out, "--workers", 1, prefix=PID, environment=shim(tmp_path, QUICK_LOCK, lines))
    running.wait_for(gate.with_name("gate-waits").exists, "a shard that is nearly finished")
    family = frozen(running)
    lines = hold("agg_pipeline.storage.store:Store.write", other_gate, SIDECAR)
    other_gate.touch()
    second = commands.proposals(
        out, "--workers", 1, "--overwrite", "--seed", 1, environment=shim(tmp_path, QUICK_LOCK, lines)
    )
    second.wait_for(other_gate.with_name("other-waits").exists, "a shard of the second run")
    gate.unlink()
    for each in family:
        each.send_signal(signal.SIGCONT)
    assert LOST.search(error_line(running.end()))
    other_gate.unlink()
    assert second.end().code == 0
    assert_same(out, other_seed)
    assert invoke("proposals", "validate", out).code == 0


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def killed(commands, out, tmp_path, prefix=()):
    """Leave the lock of a run that was killed."""
    gate = tmp_path / "killed"
    gate.touch()
    gate.with_name("killed-waits").unlink(missing_ok=True)
    environment = shim(tmp_path, QUICK_LOCK, hold("agg_pipeline.storage.store:Store.write", gate, SIDECAR))
    running = commands.proposals(out, "--workers", 1, prefix=prefix, environment=environment)
    running.wait_for(gate.with_name("killed-waits").exists, "a shard that is nearly finished")
    running.clean_up()
    assert (out / "database/lock.json").exists()


@pytest.mark.faults_long
@pytest.mark.parametrize("place", ["here", "container", "elsewhere"])
def test_the_folder_of_a_killed_run_is_taken_over(commands, reference, tmp_path, place):
    prefix = {"here": (), "container": PID, "elsewhere": host("elsewhere")}[place]
    needs_namespace(PID)
    out = tmp_path / "out"
    killed(commands, out, tmp_path, prefix)
    again = commands.make(out, "--workers", 1, environment=shim(tmp_path, QUICK_LOCK))
    assert again.code == 0, again
    # In the same table of processes, even under another host name, nobody waits for a sign of life.
    assert ("is taken over unless" in again.stderr) == (place == "container")
    assert_same(out, reference)
    assert_clean(out)


@pytest.mark.faults_long
@pytest.mark.parametrize("lock", ["none", "dead", "elsewhere"])
def test_of_three_runs_at_once_one_succeeds(commands, reference, tmp_path, lock):
    for attempt in range(3):
        out = tmp_path / f"out{attempt}"
        if lock != "none":
            killed(commands, out, tmp_path, PID if lock == "elsewhere" else ())
        environment = shim(tmp_path, QUICK_LOCK)
        runs = [commands.proposals(out, "--workers", 1, environment=environment) for _ in range(3)]
        ends = sorted((run.end() for run in runs), key=lambda end: end.code)
        assert [end.code for end in ends] == [0, 2, 2], ends
        for end in ends[1:]:
            assert "is being written by another run" in error_line(end)
        assert_same(out, reference)
        assert_clean(out)


@pytest.mark.faults_long
@pytest.mark.parametrize("other", ["works", "has finished", "has finished, and a third works"])
def test_a_taker_that_is_suspended_between_its_check_and_its_write(commands, reference, other_seed, tmp_path, other):
    out, gate, fast_gate = tmp_path / "out", tmp_path / "gate", tmp_path / "fast"
    killed(commands, out, tmp_path)
    gate.touch()
    slow = commands.proposals(
        *(out, "--workers", 1),
        environment=shim(tmp_path, QUICK_LOCK, hold("agg_pipeline.storage.store:Store.create", gate)),
    )
    slow.wait_for(gate.with_name("gate-waits").exists, "a taker that has seen a dead run")
    held = shim(tmp_path, QUICK_LOCK, hold("agg_pipeline.storage.store:Store.write", fast_gate, SIDECAR))
    if other != "works":
        assert_done(commands.make(out, "--workers", 1))
    if other == "has finished":
        gate.unlink()
        assert_done(slow.end())
        assert_same(out, reference)
        return
    fast_gate.touch()
    seed = ("--seed", 1, "--overwrite") if "third" in other else ()
    fast = commands.proposals(out, "--workers", 1, *seed, environment=held)
    fast.wait_for(fast_gate.with_name("fast-waits").exists, "a shard of the faster run")
    gate.unlink()
    assert "is being written by another run" in error_line(slow.end())
    fast_gate.unlink()
    if other == "works":
        assert_done(fast.end())
        assert_same(out, reference)
    else:
        # It may have seen the slow one's lock, and stopped. Then the same command, without --overwrite, finishes.
        ended = fast.end()
        if ended.code:
            assert LOST.search(error_line(ended)) or "is gone" in error_line(ended)
            assert commands.make(out, "--workers", 1, "--seed", 1).code == 0
        assert_same(out, other_seed)
    assert invoke("proposals", "validate", out).code == 0


@pytest.mark.faults_long
@pytest.mark.parametrize("change", [{"pid": -1}, {"pid": 2**70}, {"pid": 1}, {"table": "x"}], ids=str)
def test_strange_locks_are_taken_over(commands, reference, tmp_path, change):
    out = shutil.copytree(reference, tmp_path / "out")
    lock = {"run": "x", "host": "h", "pid": dead_pid(), "table": "", "started": "1", "beat": "0"} | change
    (out / "database/lock.json").write_text(json.dumps(lock))
    started = time.monotonic()
    again = commands.make(out, environment=shim(tmp_path, QUICK_LOCK))
    assert again.code == 0
    assert "taken over unless" in again.stderr
    assert time.monotonic() - started > 4
    assert_same(out, reference)
    assert_clean(out)
