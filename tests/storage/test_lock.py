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

import psutil
import pytest

from agg_pipeline.storage import lock
from agg_pipeline.storage.lock import LOCK, owned, owner
from agg_pipeline.storage.store import Store
from schemas.errors import StorageError, UserError


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.0)
    return Store(str(tmp_path))


def content(**changes):
    process = psutil.Process()
    return {
        "run": "another",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": process.create_time(),
        "heartbeat": time.time(),
    } | changes


def put(store, **changes):
    store.write(LOCK, json.dumps(content(**changes)).encode())


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_lock_names_this_process_and_goes_with_the_run(store):
    assert owner(store) is None
    with owned(store):
        found = owner(store)
        assert (found["pid"], found["host"]) == (os.getpid(), socket.gethostname())
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


def test_another_process_that_lives_is_respected(store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        # Its heartbeat may be old: on the same host the process itself is asked.
        put(store, pid=other.pid, process_started=psutil.Process(other.pid).create_time(), heartbeat=0.0)
        with pytest.raises(UserError, match=f"process {other.pid}"), owned(store):
            pytest.fail("both own the folder")
        other.communicate(b"\n")
    with owned(store):
        assert owner(store)["pid"] == os.getpid()


def test_lock_of_a_dead_process_is_taken_over(store):
    put(store, pid=dead_pid())
    assert owner(store) is None
    with owned(store):
        assert owner(store)["run"] != "another"
    assert store.files() == []


def test_lock_of_a_killed_process_that_nobody_waited_for_is_taken_over(store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        put(store, pid=other.pid, process_started=psutil.Process(other.pid).create_time())
        assert owner(store) is not None
        other.kill()
        while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert owner(store) is None


def test_process_number_that_was_given_again_is_no_owner(store):
    put(store, process_started=psutil.Process().create_time() - 100.0)
    assert owner(store) is None
    with owned(store):
        assert owner(store)["run"] != "another"


def test_other_host_counts_by_its_heartbeat(store):
    put(store, host="elsewhere", pid=1, heartbeat=time.time() - 10)
    with pytest.raises(UserError, match="elsewhere"), owned(store):
        pytest.fail("both own the folder")
    put(store, host="elsewhere", pid=1, heartbeat=time.time() - lock.DEAD_AFTER_SECONDS - 1)
    assert owner(store) is None
    with owned(store):
        assert owner(store)["host"] == socket.gethostname()


@pytest.mark.parametrize("broken", [b"", b'{"run": "x", "ho', bytes(157)], ids=["empty", "cut", "zeros"])
def test_lock_that_cannot_be_read_names_no_owner(store, broken):
    # A kill cuts the file short; a power cut can leave a file of zeros.
    store.write(LOCK, broken)
    assert owner(store) is None
    with owned(store):
        assert owner(store)["pid"] == os.getpid()


def test_loser_of_a_race_for_a_stale_lock_leaves(store, monkeypatch):
    put(store, pid=dead_pid())

    def other_writes_last(_):
        put(store, run="faster")

    monkeypatch.setattr(time, "sleep", other_writes_last)
    with pytest.raises(UserError, match="another run"), owned(store):
        pytest.fail("both own the folder")
    assert owner(store)["run"] == "faster"


def test_heart_beats_and_stops(store, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    threads = threading.active_count()
    with owned(store):
        first = owner(store)
        deadline = time.monotonic() + 5
        while owner(store)["heartbeat"] == first["heartbeat"] and time.monotonic() < deadline:
            time.sleep(0.01)
        later = owner(store)
        assert later["heartbeat"] > first["heartbeat"]
        assert later["run"] == first["run"]
    assert threading.active_count() == threads
    assert store.files() == []


def test_run_that_lost_its_folder_stops_and_leaves_the_lock(store):
    # A run that was suspended long enough is taken for dead; when it wakes up, the folder is not its own.
    with pytest.raises(UserError, match=r"another run \(process 7 on elsewhere\) has taken over"):  # noqa: SIM117
        with owned(store) as ownership:
            ownership.check()
            put(store, run="successor", pid=7, host="elsewhere")
            ownership.check()
            pytest.fail("it goes on writing")
    assert json.loads(store.read(LOCK))["run"] == "successor"


def test_run_that_did_not_notice_fails_at_its_end(store):
    with pytest.raises(UserError, match="has taken over"), owned(store):
        put(store, run="successor")
    assert owner(store)["run"] == "successor"


def test_another_error_is_not_hidden_by_the_loss(store):
    with pytest.raises(RuntimeError, match="boom"), owned(store):
        put(store, run="successor")
        raise RuntimeError("boom")


@pytest.mark.parametrize("content", [None, b"", b'{"run": "x", "ho'], ids=["deleted", "empty", "cut"])
def test_run_whose_lock_file_is_gone_stops(store, content):
    with owned(store) as ownership:
        before = store.read(LOCK)
        if content is None:
            store.remove(LOCK)
        else:
            store.write(LOCK, content)
        with pytest.raises(UserError, match=r"lock\.json is gone.*the run stops here, and what is finished stays"):
            ownership.check()
        store.write(LOCK, before)
        ownership.check()


def test_lock_that_cannot_be_read_for_a_moment_says_nothing(store, monkeypatch):
    def fails(_store, _path):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with owned(store) as ownership:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read", fails)
            ownership.check()
            with pytest.raises(StorageError, match=r"cannot read .*lock\.json: "):
                owner(store)
        ownership.check()
    assert store.files() == []


def test_lock_that_cannot_be_read_is_not_taken_over(store, monkeypatch):
    put(store)

    def denied(_store, _path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Store, "read", denied)
    with pytest.raises(StorageError, match="Permission denied"), owned(store):
        pytest.fail("both own the folder")
    monkeypatch.undo()
    assert json.loads(store.read(LOCK))["run"] == "another"


def test_heart_never_overwrites_the_lock_of_another_run(store, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    threads = threading.active_count()
    with pytest.raises(UserError, match="has taken over"), owned(store):
        put(store, run="successor")
        deadline = time.monotonic() + 5
        while threading.active_count() > threads and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() == threads, "the heart has noticed"
    assert owner(store)["run"] == "successor"


def test_heart_outlives_a_disk_that_fails_for_a_moment(store, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    tried = threading.Event()

    def fails(_store, _path):
        tried.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with owned(store):
        first = owner(store)["heartbeat"]
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read", fails)
            assert tried.wait(5)
        deadline = time.monotonic() + 5
        while owner(store)["heartbeat"] == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert owner(store)["heartbeat"] > first


def test_ownership_is_checked_in_other_processes_as_well(store):
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
        before = store.read(LOCK)
        assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == ""
        put(store, run="successor")
        assert "has taken over" in subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        store.write(LOCK, before)
