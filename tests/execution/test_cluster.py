"""Workers of a cluster that cannot work, and clusters that are lost, with real processes."""

import asyncio
import errno
import logging
import os
import signal
import socket
import struct
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pickle import PicklingError

import dask
import psutil
import pytest
from distributed import LocalCluster

from agg_pipeline.execution import cluster as module
from agg_pipeline.execution import local_workers
from agg_pipeline.execution import workers as workers_module
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.scheduling import ask
from agg_pipeline.execution.waiting import ready
from agg_pipeline.execution.workers import connected
from schemas.errors import StoppedError, StorageError, UserError


class Model:
    """Does nothing."""

    forward_seconds = 0.0
    splits = 0
    parameters = 0


def fail_to_open():
    raise ValueError("the file is not there")


def refuse_to_open():
    raise UserError("x.pth does not exist")


def no_space(_model):
    raise StorageError("cannot write a/b: No space left on device")


@pytest.mark.parametrize(
    ("open_model", "what"),
    [
        (
            fail_to_open,
            r"^worker tcp://\S+ cannot open the model \(ValueError\('the file is not there'\)\); ",
        ),
        (refuse_to_open, r"^worker tcp://\S+: x\.pth does not exist$"),
    ],
)
def test_a_model_that_cannot_be_opened(open_model, what):
    with pytest.raises(UserError, match=what), cluster(None, 1, 1, open_model) as workers:
        ready(workers)


def level_of_a_worker():
    printing = [each for each in logging.getLogger("distributed").handlers if isinstance(each, logging.StreamHandler)]
    return min(handler.level for handler in printing)


def test_no_message_of_dask_is_shown(capfd):
    """The scheduler in this process, for one, calls it critical that a client leaves while a worker sends something."""
    with cluster(None, 1, 1, Model) as workers:
        assert workers.client.submit(level_of_a_worker).result() > logging.CRITICAL
        for name in ("distributed", "distributed.scheduler", "distributed.client", "tornado.application", "asyncio"):
            logging.getLogger(name).critical("Closed comm")
    assert capfd.readouterr() == ("", "")


def test_a_worker_with_another_program_is_refused(monkeypatch):
    monkeypatch.setattr(module, "program_facts", lambda: {"torch": "2.99.0"})
    with (
        pytest.raises(
            UserError,
            match=r"^worker tcp://\S+: another program than in the process that started the run: torch .*; every",
        ),
        cluster(None, 1, 1, Model) as workers,
    ):
        ready(workers)


def test_a_worker_of_another_kind_is_refused():
    with cluster(None, 1, 1, Model) as workers:
        workers = ready(workers)
        assert ask(workers, type) is Model
        other = replace(workers, machine={"instruction set": "riscv64 VECTOR"})
        with pytest.raises(UserError, match=r"^worker tcp://\S+ computes other bytes than .*, and riscv64 VECTOR"):
            ask(other, type)


def test_the_worker_is_named_that_cannot_write():
    with (
        pytest.raises(StorageError, match=r"^worker tcp://\S+: cannot write a/b: No space left on device$"),
        cluster(None, 1, 1, Model) as workers,
    ):
        ask(workers, no_space)


def log_in_worker(_model):
    logging.getLogger("agg_pipeline.x").warning("a \x1b word \udc80")
    logging.getLogger("agg_pipeline.x").debug("a detail")
    logging.getLogger("distributed.worker").warning("memory is short")
    logging.getLogger("distributed.worker").info("a detail")


def test_what_workers_log_is_logged_here(caplog):
    def lines():
        return [
            (record.levelname, record.getMessage()) for record in caplog.records if "worker " in record.getMessage()
        ]

    caplog.set_level(logging.DEBUG, logger="agg_pipeline")
    with cluster(None, 1, 1, Model) as workers:
        (address,) = workers.addresses()
        ask(workers, log_in_worker)
        deadline = time.monotonic() + 20
        while len(lines()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert lines() == [
        ("WARNING", f"worker {address}: a \\x1b word \\x80"),
        ("INFO", f"worker {address}: memory is short"),
    ]


def worker_processes():
    """Processes that the forkserver of this process has made."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if all("forkserver" in " ".join(each.cmdline()) for each in (process, process.parent())):
                found.append(process)
        except (psutil.NoSuchProcess, AttributeError):
            continue
    return found


def signal_the_first(number, stop):
    while not stop.is_set():
        before = worker_processes()
        if before:
            before[0].send_signal(number)
            return
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_hangs_while_it_starts(number, monkeypatch):
    monkeypatch.setattr(local_workers, "START_SECONDS", 10.0 if number == signal.SIGKILL else 4.0)
    stop = threading.Event()
    killer = threading.Thread(target=signal_the_first, args=(number, stop))
    killer.start()
    try:
        with cluster(None, 2, 1, Model) as workers:
            assert workers.count() == (2 if number == signal.SIGKILL else 1)
            assert ask(ready(workers), type) is Model
    finally:
        stop.set()
        killer.join()


def kill_the_first(number, stop):
    """Kill so many worker processes, each as soon as it is there."""
    killed = set()
    while len(killed) < number and not stop.is_set():
        for process in worker_processes():
            if process.pid not in killed and len(killed) < number:
                process.kill()
                killed.add(process.pid)
        time.sleep(0.005)


@pytest.mark.parametrize(("wanted", "kills"), [(1, 1), (1, 2), (2, 3)])
def test_all_workers_killed_while_they_start(wanted, kills, monkeypatch):
    monkeypatch.setattr(local_workers, "START_SECONDS", 30.0)
    stop = threading.Event()
    killer = threading.Thread(target=kill_the_first, args=(kills, stop))
    killer.start()
    try:
        with cluster(None, wanted, 1, Model) as workers:
            assert workers.count() == wanted
            assert ask(ready(workers), type) is Model
    finally:
        stop.set()
        killer.join()


def test_what_keeps_workers_from_starting_is_said(monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/dask")

    monkeypatch.setattr(LocalCluster, "new_worker_spec", fail)
    with pytest.raises(UserError) as error, cluster(None, 1, 1, Model):
        pytest.fail("the run begins")
    assert str(error.value) == (
        "no worker process can start: No space left on device: /tmp/dask; make room there, or set TMPDIR to another "
        "folder"
    )


def test_what_keeps_the_scheduler_from_starting_is_said(tmp_path):
    (tmp_path / "file").touch()
    place = dask.config.set({"temporary-directory": str(tmp_path / "file")})
    with place, pytest.raises(UserError) as error, cluster(None, 1, 1, Model):
        pytest.fail("the run begins")
    assert str(error.value) == (
        f"the scheduler of the workers cannot start: Not a directory: {tmp_path}/file/dask-scratch-space"
    )


def test_a_long_path_of_temporary_files_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(UserError, match="; set TMPDIR to a folder with a shorter path "), cluster(None, 1, 1, Model):
        pytest.fail("the run begins")


def test_no_worker_that_starts(monkeypatch):
    monkeypatch.setattr(local_workers, "START_SECONDS", 1.0)
    monkeypatch.setattr(LocalCluster, "new_worker_spec", lambda _: {})
    with pytest.raises(UserError, match=r"^no worker process has started within 1 s"), cluster(None, 1, 1, Model):
        pass


def test_asking_a_lost_scheduler_is_one_line():
    with cluster(None, 1, 1, Model) as workers:
        workers = ready(workers)
        workers.client.close()
        for question in (workers.count, workers.states, lambda: workers.submit("x", "model", os.getpid)):
            with pytest.raises(UserError, match=r"^the connection to the Dask scheduler is lost"):
                question()


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch):
    with cluster(None, 1, 1, Model) as workers:
        workers = ready(workers)
        asked = workers.count(), len(workers.states())
        assert asked == (1, 1)

        async def wait(*_, **__):
            await asyncio.sleep(30)

        scheduler = workers.client.scheduler
        monkeypatch.setattr(type(scheduler), "__getattr__", lambda *_: wait)
        monkeypatch.setattr(workers_module, "ANSWER_SECONDS", 1.0)
        for question in (workers.count, workers.states):
            with pytest.raises(StoppedError, match=r"^the Dask scheduler has not answered for 1 s "):
                question()
        monkeypatch.undo()


@pytest.mark.parametrize("mistake", [TypeError("cannot pickle"), PicklingError("cannot pickle")])
def test_a_task_that_cannot_be_sent_is_no_lost_scheduler(mistake):
    with pytest.raises(type(mistake), match="cannot pickle"), connected():
        raise mistake


def serve(answer):
    """Listen on this machine, and give every connection to a function in a thread of its own."""
    server = socket.create_server(("127.0.0.1", 0))

    def work():
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=work, daemon=True).start()
    return server


OTHER_SERVERS = {
    "says nothing": (
        lambda _: None,
        "no Dask scheduler answers at {}; check --scheduler (what is there has said nothing",
    ),
    "is cut off": (
        lambda connection: connection.sendall(struct.pack("<QQ", 1000, 1)),
        "no Dask scheduler answers at {}; check --scheduler (what is there has said nothing for 1.0 s)",
    ),
    "speaks HTTP": (
        lambda connection: connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n"),
        "what answers at {} is no Dask scheduler; check --scheduler",
    ),
    "claims a terabyte": (
        lambda connection: connection.sendall(struct.pack("<QQ", 1 << 40, 1)),
        "what answers at {} is no Dask scheduler; check --scheduler",
    ),
    "hangs up": (
        lambda connection: connection.close(),
        "no Dask scheduler answers at {}; check --scheduler (in <TCP (closed)",
    ),
}


@pytest.mark.parametrize("kind", OTHER_SERVERS)
def test_what_answers_is_no_scheduler(kind, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    answer, said = OTHER_SERVERS[kind]
    connections = []

    def remember(connection):
        connections.append(connection)
        answer(connection)

    with serve(remember) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError) as error, cluster(address, 1, 1, Model):
            pytest.fail("the run begins")
    assert str(error.value).startswith(said.format(address))
    assert "\n" not in str(error.value)
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    "address", ["", "nonsense", "tcp://127.0.0.1:abc", "tls://127.0.0.1:1", "ucx://x:1", "ftp://x:1", "inproc://x"]
)
def test_addresses_of_no_scheduler(address):
    with pytest.raises(UserError, match=f"^no Dask scheduler answers at {address}; check --scheduler "):  # noqa: SIM117
        with cluster(address, 1, 1, Model):
            pytest.fail("the run begins")


@pytest.mark.parametrize("kind", ["worker", "nanny"])
def test_a_worker_is_no_scheduler(kind):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, processes=kind == "nanny") as local:
        (found,) = local.workers.values()
        with pytest.raises(UserError) as error, cluster(found.address, 1, 1, Model):
            pytest.fail("the run begins")
    assert str(error.value) == f"what answers at {found.address} is no Dask scheduler; check --scheduler"


def test_too_few_open_files_are_one_line(monkeypatch):
    monkeypatch.setattr(local_workers.resource, "getrlimit", lambda _: (16, 16))
    said = "^no worker process can start: a process may have only 16 files open; allow more with ulimit -n 1024$"
    with pytest.raises(UserError, match=said), cluster(None, 1, 1, Model):
        pytest.fail("the run begins")


def test_a_scheduler_of_this_run_that_cannot_be_reached_names_no_option(monkeypatch):
    def no_more(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(module, "Client", no_more)
    said = "^the scheduler of the workers does not answer: Too many open files; allow more with ulimit -n 1024$"
    with pytest.raises(UserError, match=said), cluster(None, 1, 1, Model):
        pytest.fail("the run begins")
