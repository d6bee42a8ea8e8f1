"""Who owns an output folder."""

import errno
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from agg_pipeline.storage import lock, process_life
from agg_pipeline.storage.lock import LOCK, Lock, holder, is_lock, lock_name, owned
from agg_pipeline.storage.process_life import process_lives, process_start, process_table
from agg_pipeline.storage.store import Store
from schemas.errors import StorageError, UserError

ELSEWHERE = {"host": "elsewhere", "pid": 7, "table": "another boot:1"}


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "DEAD_AFTER_SECONDS", 0.3)
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.02)
    made = Store(str(tmp_path) if request.param == "disk" else f"memory://{tmp_path}")
    yield made
    made.remove_all(made.files())


def content(**changes):
    pid = os.getpid()
    return asdict(Lock("another", socket.gethostname(), pid, process_table(), process_start(pid))) | changes


def put(store, name=LOCK, **changes):
    store.write(name, json.dumps(content(**changes)).encode())


def owner(store):
    return holder(store).lock


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_lock_names_this_process_and_goes_with_the_run(store):
    assert holder(store) is None
    with owned(store):
        found = holder(store)
        assert (found.number, found.lives) == (1, True)
        assert found.process == f"process {os.getpid()} on {socket.gethostname()}"
        assert store.files() == [LOCK]
    assert store.files() == []


def test_lock_goes_when_the_run_fails(store):
    with pytest.raises(RuntimeError, match="boom"), owned(store):
        raise RuntimeError("boom")
    assert store.files() == []
    with owned(store):
        pass


def test_second_owner_is_refused_while_the_first_lives(store):
    with owned(store):
        before = store.read(LOCK)
        with pytest.raises(UserError, match=f"process {os.getpid()} on {socket.gethostname()}"), owned(store):
            pytest.fail("both own the folder")
        assert store.read(LOCK) == before
        assert store.files() == [LOCK]


def test_another_process_that_lives_is_respected(store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        put(store, pid=other.pid, started=process_start(other.pid))
        with pytest.raises(UserError, match=f"process {other.pid}"), owned(store):
            pytest.fail("both own the folder")
        other.communicate(b"\n")
    with owned(store):
        assert owner(store).pid == os.getpid()


@pytest.mark.parametrize("changes", [{}, {"pid": -1}, {"pid": 2**70}, {"pid": 0}, {"started": "1"}], ids=str)
def test_lock_of_a_dead_process_is_taken_over_at_once(store, changes, monkeypatch):
    monkeypatch.setattr(lock, "LOOK_SECONDS", 1000.0)
    put(store, **{"pid": dead_pid()} | changes)
    assert holder(store).lives is False
    with owned(store) as ownership:
        assert owner(store).run != "another"
        assert ownership.number == 2
        assert not ownership.disputed
        assert store.files() == ["lock-2.json"]
    assert store.files() == []


@pytest.mark.parametrize("unseen", [False, True])
def test_workers_of_a_dead_process_may_live(store, unseen):
    """A run that is killed while it owns the folder of such a run leaves the same doubt."""
    put(store, pid=dead_pid(), unseen=unseen)
    assert holder(store).lives is False
    with owned(store) as ownership:
        assert (ownership.disputed, owner(store).unseen) == (unseen, unseen)
    with owned(store, unseen=True) as ownership:
        assert (ownership.disputed, owner(store).unseen) == (False, True)


def test_a_run_after_one_that_could_not_be_looked_up_tells_it_to_the_next(store):
    put(store, **ELSEWHERE)
    with owned(store):
        assert owner(store).unseen


def test_lock_of_a_version_without_workers_elsewhere(store):
    old = content(pid=dead_pid())
    del old["unseen"]
    store.write(LOCK, json.dumps(old).encode())
    with owned(store) as ownership:
        assert not ownership.disputed


def test_lock_of_a_killed_process_that_nobody_waited_for_is_taken_over(store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        put(store, pid=other.pid, started=process_start(other.pid))
        assert holder(store).lives is True
        other.kill()
        while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert holder(store).lives is False


def test_a_moved_clock_changes_nothing(store, monkeypatch):
    """The wall clock, and with it the boot time that the kernel tells, is stepped by a minute or by ten."""
    with owned(store):
        for step in (-600.0, 600.0, 1.0):
            monkeypatch.setattr(time, "time", lambda step=step: time.monotonic() + step)
            monkeypatch.setattr(psutil, "boot_time", lambda step=step: 1e9 + step)
            assert holder(store).lives is True
            with pytest.raises(UserError, match="is being written by another run"), owned(store):
                pytest.fail("both own the folder")


def test_another_table_of_processes_is_not_looked_into(store):
    """A container has other process numbers under the same host name."""
    put(store, table="boot:other namespace", pid=dead_pid())
    assert holder(store).lives is None
    assert process_lives("", os.getpid(), process_start(os.getpid())) is None
    assert process_lives(process_table(), os.getpid(), "") is None


@pytest.fixture
def hidden(tmp_path, monkeypatch):
    """Make a /proc that shows of no other process more than its folder, or not even that, as with hidepid=1 and 2."""

    def hide(pid, hidepid):
        proc = tmp_path / "proc"
        proc.mkdir()
        for name in ("self", "sys", str(os.getpid())):
            (proc / name).symlink_to(f"/proc/{name}")
        if hidepid == 1:
            (proc / str(pid)).mkdir()
            read = Path.read_bytes
            denied = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(denied) if pid_in(path, pid) else read(path))
        monkeypatch.setattr(process_life, "PROC", proc)

    return hide


def pid_in(path, pid):
    return str(pid) in path.parts


def refuse(error):
    raise error


@pytest.mark.parametrize("permitted", [True, False])
@pytest.mark.parametrize("hidepid", [1, 2])
def test_a_hidden_process_is_not_dead(store, hidden, monkeypatch, hidepid, permitted, caplog):
    """Nodes of clusters hide the processes of other users."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        put(store, pid=other.pid, started=process_start(other.pid))
        assert holder(store).lives is True
        hidden(other.pid, hidepid)
        if not permitted:
            monkeypatch.setattr(os, "kill", lambda *_: refuse(PermissionError(errno.EPERM, "not permitted")))
        assert process_life.process_start(other.pid) == ""
        assert holder(store).lives is None
        with owned(store) as ownership:
            assert ownership.disputed
        assert f"locked by process {other.pid} on {socket.gethostname()}; it is taken over unless" in caplog.text
        other.communicate(b"\n")


@pytest.mark.parametrize("hidepid", [1, 2])
def test_a_dead_process_is_dead_even_where_others_are_hidden(store, hidden, hidepid):
    put(store, pid=dead_pid())
    hidden(owner(store).pid, hidepid)
    assert holder(store).lives is False
    with owned(store) as ownership:
        assert not ownership.disputed
        assert (owner(store).started, holder(store).lives) == (process_start(os.getpid()), True)


def test_a_process_whose_state_is_hidden_is_not_dead(store, monkeypatch):
    """It has changed its user between the two looks."""
    put(store)
    monkeypatch.setattr(psutil.Process, "status", lambda _: refuse(psutil.AccessDenied()))
    assert holder(store).lives is None


def test_proc_of_another_namespace_is_not_looked_into(store, tmp_path, monkeypatch):
    """In a container without a /proc of its own, numbers of processes mean others there."""
    put(store, pid=dead_pid())
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "sys").symlink_to("/proc/sys")
    (proc / "self").symlink_to(f"/proc/{os.getppid()}")
    monkeypatch.setattr(process_life, "PROC", proc)
    assert process_table() == ""
    assert holder(store).lives is None


def beating(store, name, stop):
    count = 0
    while not stop.wait(0.05):
        count += 1
        store.rewrite(name, json.dumps(content(**ELSEWHERE, beat=f"{count:012d}")).encode())


def test_a_run_elsewhere_lives_as_long_as_its_heartbeat_changes(store):
    put(store, **ELSEWHERE)
    stop = threading.Event()
    heart = threading.Thread(target=beating, args=(store, LOCK, stop))
    heart.start()
    try:
        with pytest.raises(UserError, match="process 7 on elsewhere"), owned(store):
            pytest.fail("both own the folder")
    finally:
        stop.set()
        heart.join()
    assert owner(store).run == "another"


def test_a_run_elsewhere_without_a_heartbeat_is_taken_over(store, caplog):
    put(store, **ELSEWHERE)
    with owned(store) as ownership:
        assert (ownership.number, ownership.disputed) == (2, True)
        assert owner(store).pid == os.getpid()
    assert "locked by process 7 on elsewhere; it is taken over unless" in caplog.text


def test_a_run_elsewhere_that_ends_while_it_is_watched(store, monkeypatch):
    put(store, **ELSEWHERE)
    monkeypatch.setattr(time, "sleep", lambda _: store.remove(LOCK))
    with owned(store) as ownership:
        assert (ownership.number, ownership.disputed) == (1, False)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b'{"run": "x", "ho',
        bytes(157),
        b"[" * 50_000,
        b"1" * 5000,
        b'{"run":"x","host":"h","pid":"7"}',
        b'{"run": "x", "host": "h", "pid": 1.5}',
        b'{"run": "x", "host": "h", "pid": NaN}',
        b'{"run": "\\ud800", "host": "h", "pid": 1}',
    ],
    ids=["empty", "cut", "zeros", "deep", "digits", "text", "fraction", "nan", "surrogate"],
)
def test_damaged_lock_is_watched_and_taken_over(store, broken):
    store.write(LOCK, broken)
    found = holder(store)
    assert (found.lock, found.lives) == (None, None)
    with owned(store):
        assert owner(store).pid == os.getpid()
    assert store.files() == []


def odd_lock(folder, kind, name=LOCK):
    """Put something else than a file in the place of a lock."""
    place = folder / name
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to({"device": "/dev/zero", "broken link": "nowhere", "loop": name}[kind])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("folder", "is no lock of a run, but a folder or a broken link; delete it"),
        ("broken link", "is no lock of a run, but a folder or a broken link; delete it"),
        ("pipe", "is a pipe; no run has made it, so delete it"),
        ("device", "is a device or socket; no run has made it, so delete it"),
        ("loop", "is a loop of links; no run has made it, so delete it"),
    ],
)
def test_what_is_no_file_is_no_lock(tmp_path, kind, said):
    store = Store(str(tmp_path))
    odd_lock(tmp_path, kind)
    with pytest.raises(UserError) as error, owned(store):
        pytest.fail("the folder is owned")
    assert str(error.value) == f"{tmp_path}/{LOCK} {said}"
    assert store.names() == [LOCK]


@pytest.mark.parametrize("kind", ["folder", "broken link"])
def test_the_next_lock_cannot_be_made(tmp_path, kind):
    store = Store(str(tmp_path))
    put(store, pid=dead_pid())
    odd_lock(tmp_path, kind, "lock-2.json")
    with pytest.raises(UserError, match=r"lock-2\.json is no lock of a run, but"), owned(store):
        pytest.fail("the folder is owned")
    assert store.names() == ["lock-2.json", LOCK]


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_run_whose_lock_file_becomes_something_else_stops(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with pytest.raises(UserError, match=r"lock\.json is a .*; no run has made it"), owned(Store(str(tmp_path))):
        (tmp_path / LOCK).unlink()
        odd_lock(tmp_path, kind)
        time.sleep(0.1)
    assert not [thread for thread in threading.enumerate() if "_beat" in thread.name]


def test_a_lock_file_without_measure_is_refused(store):
    store.write(LOCK, bytes(lock.LOCK_BYTES + 1))
    with pytest.raises(UserError, match=r"has 65,537 bytes; the limit of such files is 65,536; no run"), owned(store):
        pytest.fail("the folder is owned")


def test_the_last_number_is_followed_by_none(store):
    put(store, "lock-999999999.json", pid=dead_pid())
    with pytest.raises(UserError, match=r"lock-999999999\.json leaves no number"), owned(store):
        pytest.fail("the folder is owned")
    put(store, "lock-999999998.json", pid=dead_pid())
    store.remove("lock-999999999.json")
    with owned(store) as ownership:
        assert ownership.number == lock.LAST
        assert is_lock(lock_name(ownership.number))


def test_digits_of_other_scripts_are_no_number(store):
    store.write("lock-2\u0663.json", b"")
    with owned(store) as ownership:
        assert ownership.number == 1


def test_lock_of_an_earlier_version_is_watched(store):
    old = {"run": "x", "host": socket.gethostname(), "pid": 1, "process_started": 1.0, "heartbeat": 0.0}
    store.write(LOCK, json.dumps(old).encode())
    assert holder(store).lives is None
    with owned(store) as ownership:
        assert ownership.number == 2


def test_control_characters_of_a_lock_do_not_reach_the_terminal(store):
    put(store, **ELSEWHERE | {"host": "a\x1b[31m\nb"})
    assert holder(store).process == "process 7 on a\\x1b[31m\\nb"


def test_of_several_takers_one_wins(store, monkeypatch):
    """All of them have seen the dead lock before the first of them takes the folder over."""
    put(store, pid=dead_pid())
    barrier, real, outcomes = threading.Barrier(5), lock._wait_for_end, []
    ended = threading.Event()

    def together(store):
        before = real(store)
        barrier.wait()
        return before

    def take():
        try:
            with owned(store):
                outcomes.append("owned")
                ended.wait(10)
        except UserError:
            outcomes.append("refused")

    monkeypatch.setattr(lock, "_wait_for_end", together)
    takers = [threading.Thread(target=take) for _ in range(5)]
    for taker in takers:
        taker.start()
    while len(outcomes) < 5:
        time.sleep(0.01)
    ended.set()
    for taker in takers:
        taker.join()
    assert sorted(outcomes) == ["owned", *["refused"] * 4]
    assert store.files() == []


def test_a_slow_taker_finds_a_third_run_there(store, monkeypatch):
    """It has seen a dead run. Meanwhile another one took over, ended, and a third one began."""
    dead = dead_pid()
    put(store, pid=dead)
    real = lock._wait_for_end

    def slow(store):
        before = real(store)
        store.remove(LOCK)
        put(store, lock_name(4), run="third")
        return before

    monkeypatch.setattr(lock, "_wait_for_end", slow)
    with pytest.raises(UserError, match="is being written by another run"), owned(store):
        pytest.fail("both own the folder")
    assert store.files() == [lock_name(4)]
    assert owner(store).run == "third"


def test_a_slow_taker_finds_a_third_run_with_a_lower_number(store, monkeypatch):
    """It has seen a dead run. Meanwhile another one took over and ended, and the third one found no lock."""
    put(store, pid=dead_pid())
    real = lock._wait_for_end

    def slow(store):
        before = real(store)
        put(store, run="third")
        return before

    monkeypatch.setattr(lock, "_wait_for_end", slow)
    with pytest.raises(UserError, match="is being written by another run"), owned(store):
        pytest.fail("both own the folder")
    assert store.files() == [LOCK]
    assert owner(store).run == "third"


def test_heart_beats_and_stops(store, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    threads = threading.active_count()
    with owned(store):
        first = owner(store)
        deadline = time.monotonic() + 5
        while owner(store).beat == first.beat and time.monotonic() < deadline:
            time.sleep(0.01)
        later = owner(store)
        assert later.beat > first.beat
        assert later.run == first.run
        assert len(later.beat) == len(first.beat)
    assert threading.active_count() == threads
    assert store.files() == []


@pytest.mark.parametrize("name", [LOCK, "lock-2.json"])
def test_run_that_lost_its_folder_stops_and_leaves_the_lock(store, name):
    # A run that was suspended long enough is considered dead; when it wakes up, the folder is not its own.
    with pytest.raises(UserError, match=r"another run \(process 7 on elsewhere\) has taken over"):  # noqa: SIM117
        with owned(store) as ownership:
            ownership.check()
            put(store, name, **ELSEWHERE | {"run": "successor"})
            ownership.check()
            pytest.fail("it goes on writing")
    assert owner(store).run == "successor"


def test_run_that_did_not_notice_fails_at_its_end(store):
    with pytest.raises(UserError, match="has taken over"), owned(store):
        put(store, "lock-2.json", run="successor")
    assert owner(store).run == "successor"


def test_another_error_is_not_hidden_by_the_loss(store):
    with pytest.raises(RuntimeError, match="boom"), owned(store):
        put(store, run="successor")
        raise RuntimeError("boom")


def test_run_whose_lock_file_is_gone_stops(store):
    with owned(store) as ownership:
        before = store.read(LOCK)
        store.remove(LOCK)
        with pytest.raises(UserError, match=r"lock\.json is gone.*the run stops here, and what is finished stays"):
            ownership.check()
        store.write(LOCK, before)
        ownership.check()


@pytest.mark.parametrize("content", [b"", b'{"run": "x", "ho'], ids=["empty", "cut"])
def test_run_whose_lock_file_is_damaged_stops(store, content):
    with owned(store) as ownership:
        before = store.read(LOCK)
        store.write(LOCK, content)
        with pytest.raises(UserError, match=r"another run \(a run whose lock file is damaged\) has taken over"):
            ownership.check()
        store.write(LOCK, before)
        ownership.check()


class FailingReads:
    """The store of the lock file fails to read for some attempts."""

    def __init__(self, times):
        self.left, self.failed, self.real = times, threading.Event(), Store.read

    def __call__(self, store, path, *limit):
        if path.startswith("lock") and self.left > 0:
            self.left -= 1
            self.failed.set()
            raise StorageError(f"cannot read {path}: {os.strerror(errno.EIO)}")
        return self.real(store, path, *limit)


def read_like(action):
    """A method in the place of ``Store.read``."""
    return lambda self, path, *limit: action(self, path, *limit)


def test_a_lock_that_cannot_be_read_stops_the_run_before_it_writes(store, monkeypatch):
    with owned(store) as ownership:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read", read_like(FailingReads(99)))
            with pytest.raises(StorageError, match=r"cannot read lock\.json"):
                ownership.check()
        ownership.check()
    assert store.files() == []


def test_lock_that_cannot_be_read_is_not_taken_over(store, monkeypatch):
    put(store)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "read", read_like(FailingReads(99)))
        with pytest.raises(StorageError, match="Input/output error"), owned(store):
            pytest.fail("both own the folder")
    assert owner(store).run == "another"


def test_heart_never_writes_into_the_lock_of_another_run(store, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with pytest.raises(UserError, match="has taken over"), owned(store):
        put(store, run="successor", beat="x")
        time.sleep(0.1)
    assert (owner(store).run, owner(store).beat) == ("successor", "x")


def test_heart_makes_no_lock_file_again(store, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with pytest.raises(UserError, match="is gone"), owned(store):
        store.remove(LOCK)
        time.sleep(0.1)
    assert store.files() == []


def test_heart_outlives_a_disk_that_fails_for_a_moment(store, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with owned(store):
        first, failing = owner(store).beat, FailingReads(5)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read", read_like(failing))
            assert failing.failed.wait(5)
            while failing.left:
                time.sleep(0.01)
        deadline = time.monotonic() + 5
        while owner(store).beat == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert owner(store).beat > first


def test_ownership_is_checked_in_other_processes_as_well(tmp_path):
    store = Store(str(tmp_path))
    with owned(store) as ownership:
        code = (
            "import pickle, sys\n"
            "from schemas.errors import StorageError, UserError\n"
            "ownership = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
            "try:\n"
            "    ownership.check()\n"
            "except UserError as error:\n"
            "    print(error)\n"
        )
        ask = [sys.executable, "-c", code, pickle.dumps(ownership).hex()]
        assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == ""
        put(store, "lock-2.json", run="successor")
        assert "has taken over" in subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        store.remove("lock-2.json")


def test_names_of_lock_files():
    assert [lock_name(number) for number in (1, 2, 30)] == [LOCK, "lock-2.json", "lock-30.json"]
    assert all(is_lock(lock_name(number)) for number in (1, 2, 30))
    assert not any(
        map(is_lock, ("lock-0.json", "lock-1.json", "lock-x.json", "lock-2.json.bak", "lock-01.json", "locks.json"))
    )


def test_a_process_without_proc(monkeypatch, tmp_path):
    """Systems other than Linux have no /proc."""
    monkeypatch.setattr(process_life, "PROC", tmp_path / "none")
    assert process_lives(process_table(), os.getpid(), process_start(os.getpid())) is True
    assert process_lives(process_table(), os.getpid(), "1.00") is False
    assert process_lives(process_table(), dead_pid(), "1.00") is False
