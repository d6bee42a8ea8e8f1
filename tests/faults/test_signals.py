"""Runs that are told to stop, and outputs that nobody reads: one line, nothing left, and the same command resumes."""

import os
import pty
import select
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.e2e.commands import ENVIRONMENT
from tests.e2e.small_set import SIZES
from tests.faults.processes import (
    MARK,
    PATIENCE,
    SIDECAR,
    assert_clean,
    assert_done,
    assert_same,
    hold,
    shim,
)

pytestmark = pytest.mark.usefixtures("hangup")
HOW = "run the same command again to resume"
STOPPED = f"stopped; finished shards are kept; {HOW}"
SIGNALS = {
    "SIGHUP": [(signal.SIGHUP, False)],
    "SIGTERM": [(signal.SIGTERM, False)],
    "SIGTERM to the group": [(signal.SIGTERM, True)],
    "SIGHUP to the group": [(signal.SIGHUP, True)],
    "Ctrl-C": [(signal.SIGINT, True)],
    "Ctrl-C twice": [(signal.SIGINT, True)] * 2,
    "Ctrl-C five times": [(signal.SIGINT, True)] * 5,
    "five interrupts to one process": [(signal.SIGINT, False)] * 5,
    "SIGHUP, then SIGTERM": [(signal.SIGHUP, False), (signal.SIGTERM, False)],
}


def stop(running, signals, pause=0.15):
    for number, group in signals:
        running.signal(number, group)
        time.sleep(pause)
    ended = running.end()
    assert ended.code == 130, ended
    assert ended.stderr.splitlines()[-1:] == [STOPPED], ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


def stop_and_resume(commands, reference, tmp_path, kinds, starting=True):
    """Stop one run again and again, by turns while its workers start and at its second shard; then let it finish.

    Args:
        commands, reference, tmp_path: the fixtures.
        kinds: how it is stopped, each time.
        starting: whether it is stopped while its workers start the first time.
    """
    out, gate = tmp_path / "out", tmp_path / "gate"
    gate.touch()
    for number, kind in enumerate(kinds):
        waits = gate.with_name("gate-waits")
        waits.unlink(missing_ok=True)
        finished = "list(pathlib.Path(args[0].url).glob('shards/*'))"
        lines = hold("agg_pipeline.storage.store:Store.write", gate, f"{SIDECAR} and {finished}")
        running = commands.proposals(out, environment=shim(tmp_path, "import pathlib", lines))
        if number % 2 == starting:
            running.wait_for(waits.exists, "a shard at the gate")
        else:
            running.wait_for(running.workers, "a worker")
        stop(running, SIGNALS[kind])
        assert_clean(out)
    gate.unlink()
    assert_done(commands.make(out))
    assert_same(out, reference)


def test_signals_stop_a_run_cleanly(commands, reference, tmp_path):
    stop_and_resume(commands, reference, tmp_path, ["SIGHUP", "Ctrl-C five times"])


@pytest.mark.faults_long
@pytest.mark.parametrize("starting", [False, True])
def test_all_signals_stop_a_run_cleanly(commands, reference, tmp_path, starting):
    stop_and_resume(commands, reference, tmp_path, SIGNALS, starting)


@pytest.mark.faults_long
@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
def test_five_signals_at_any_instant(commands, reference, tmp_path, seconds):
    """Also while it imports, plans, and writes its last files."""
    out = tmp_path / "out"
    running = commands.proposals(out)
    time.sleep(seconds)
    for _ in range(5):
        running.signal(signal.SIGINT, group=True)
        time.sleep(0.05)
    ended = running.end()
    # Before the command has been imported, Python itself ends it.
    assert ended.code in (0, 130, -signal.SIGINT), ended
    if ended.code == 130:
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.stderr.splitlines()[-1] in (STOPPED, "stopped"), ended.stderr
    assert not list(out.rglob("lock*"))
    assert_done(commands.make(out))
    assert_same(out, reference)


def run_in_terminal(commands, out, mark, environment):
    """Start the run in a terminal of its own; its pid and the other end of the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= ENVIRONMENT | environment | {MARK: mark}
        command = (*SIZES, "--data", str(commands.data), "--out", str(out), "--gallery-images", "0")
        os.execv(sys.executable, [sys.executable, "-m", "agg_pipeline.cli", "proposals", "run", *command])
    return pid, terminal


@pytest.mark.faults_long
@pytest.mark.parametrize("shards", [0, 1])
def test_a_closed_terminal(commands, reference, tmp_path, shards):
    out, gate, mark = tmp_path / "out", tmp_path / "gate", f"terminal-{tmp_path}"
    gate.touch()
    finished = f"len(list(pathlib.Path(args[0].url).glob('shards/*'))) >= {shards}"
    lines = hold("agg_pipeline.storage.store:Store.write", gate, f"{SIDECAR} and {finished}")
    pid, terminal = run_in_terminal(commands, out, mark, shim(tmp_path, "import pathlib", lines))
    deadline = time.monotonic() + PATIENCE
    while not gate.with_name("gate-waits").exists():
        assert time.monotonic() < deadline
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 65536)
    os.close(terminal)
    code = None
    while code is None and time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
        time.sleep(0.05)
    # The last line cannot be printed any more.
    assert code in (2, 130)
    assert_clean(out)
    time.sleep(2)
    for each in psutil.process_iter():
        try:
            assert each.environ().get(MARK) != mark or each.status() == psutil.STATUS_ZOMBIE, each.cmdline()
        except (psutil.Error, OSError):
            continue
    gate.unlink()
    assert_done(commands.make(out))
    assert_same(out, reference)


@pytest.mark.faults_long
def test_a_pipe_that_is_closed_by_its_reader(commands, reference, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "agg_pipeline.cli", "proposals", "run", *SIZES, "--gallery-images", "0"]
    process = subprocess.Popen(
        [*command, "--data", str(commands.data), "--out", str(out)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(PATIENCE) == 1
    assert_clean(out)
    assert_done(commands.make(out))
    assert_same(out, reference)


@pytest.mark.faults_long
def test_a_full_standard_output(commands, reference, tmp_path):
    out = tmp_path / "out"
    ended = commands.make(out, prefix=("sh", "-c", 'exec "$@" > /dev/full', "sh"))
    assert (ended.code, ended.stderr) == (2, "error: cannot print: No space left on device\n")
    assert_clean(out)
    assert_done(commands.make(out))
    assert_same(out, reference)


@pytest.mark.faults_long
def test_nohup_is_respected(commands, reference, tmp_path):
    out, gate = tmp_path / "out", tmp_path / "gate"
    gate.touch()
    environment = shim(tmp_path, hold("agg_pipeline.storage.store:Store.write", gate, SIDECAR))
    running = commands.proposals(out, prefix=("sh", "-c", 'trap "" HUP; exec "$@"', "sh"), environment=environment)
    running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
    running.signal(signal.SIGHUP, group=True)
    time.sleep(0.5)
    gate.unlink()
    assert_done(running.end())
    assert_same(out, reference)
