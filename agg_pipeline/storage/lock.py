"""The lock file that names the run which owns an output folder."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from agg_pipeline.storage.store import Store
from schemas.errors import StorageError, UserError

LOCK = "lock.json"
HEARTBEAT_SECONDS = 20.0
"""Time between two signs of life that a run writes into its lock."""
DEAD_AFTER_SECONDS = 180.0
"""A lock of another host without a sign of life for this time is taken over."""
SETTLE_SECONDS = 0.5
"""After taking over the lock of a dead run, a run waits so long and then checks that no other run took it over, too."""
CONTENT = {"run": str, "host": str, "pid": int, "process_started": float, "heartbeat": float}
"""Keys of the lock file, and the types of their values."""


@dataclass(frozen=True)
class Ownership:
    """What a run has of a folder that it owns. It can be sent to the processes that write there for the run.

    Attributes:
        store: the folder.
        run: id of the run in the lock file.
    """

    store: Store
    run: str

    def holds(self) -> bool:
        """Whether the lock file still names this run.

        Raises:
            StorageError: the lock file cannot be read, which says nothing about the owner.
        """
        found = _read(self.store)
        return found is not None and found["run"] == self.run

    def check(self) -> None:
        """Stop a run that has lost its folder, before it writes into it again.

        Raises:
            UserError: another run has taken the folder over, or the lock file is gone.
        """
        try:
            found = _read(self.store)
        except StorageError:
            return
        if found is None:
            raise UserError(
                f"{self.store.url}/{LOCK} is gone: it was deleted, or a worker does not see this folder; "
                "the run stops here, and what is finished stays"
            )
        if found["run"] != self.run:
            raise UserError(
                f"another run (process {found['pid']} on {found['host']}) has taken over {self.store.url}, because it "
                "took this one for dead; this one stops here, and what is finished stays"
            )


def owner(store: Store) -> dict[str, Any] | None:
    """The content of the lock if the run that it names still lives, else None.

    On this host a run lives as long as its process; on another host as long as its heartbeat is fresh.
    """
    lock = _read(store)
    if lock is None:
        return None
    if lock["host"] == socket.gethostname():
        return lock if _lives(lock["pid"], lock["process_started"]) else None
    return lock if time.time() - lock["heartbeat"] < DEAD_AFTER_SECONDS else None


@contextmanager
def owned(store: Store) -> Iterator[Ownership]:
    """Own an output folder.

    Raises:
        UserError: another run that lives owns it; at the end, another run has taken it over meanwhile.
    """
    lock = _new_lock()
    if not store.create(LOCK, _encoded(lock)):
        _refuse_if_owned(store, lock)
        # The owner is dead. Of several that take over now, the last writer stays; the others see that and leave.
        store.write(LOCK, _encoded(lock))
        time.sleep(SETTLE_SECONDS)
        _refuse_if_owned(store, lock)
    ownership = Ownership(store, lock["run"])
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(ownership, lock, done), daemon=True)
    heart.start()
    try:
        yield ownership
        ownership.check()
    finally:
        done.set()
        heart.join()
        _release(ownership)


def _refuse_if_owned(store: Store, lock: dict[str, Any]) -> None:
    other = owner(store)
    if other is not None and other["run"] != lock["run"]:
        raise UserError(
            f"{store.url} is being written by another run (process {other['pid']} on {other['host']}); "
            f"wait for it or choose another output folder"
        )


def _new_lock() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "run": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": process.create_time(),
        "heartbeat": time.time(),
    }


def _beat(ownership: Ownership, lock: dict[str, Any], done: threading.Event) -> None:
    """Keep the heartbeat fresh until the run ends or the folder is lost: another run's lock is never overwritten."""
    while not done.wait(HEARTBEAT_SECONDS):
        try:
            if not ownership.holds():
                return
            ownership.store.write(LOCK, _encoded(lock | {"heartbeat": time.time()}))
        except StorageError:
            # A full disk is reported by the run itself; the next beat may succeed.
            continue


def _release(ownership: Ownership) -> None:
    try:
        if ownership.holds():
            ownership.store.remove(LOCK)
    except StorageError:
        return


def _read(store: Store) -> dict[str, Any] | None:
    """The lock's content; None if there is none, or only what a power cut left of one."""
    try:
        lock = json.loads(store.read(LOCK))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {store.url}/{LOCK}: {error.strerror or error}") from error
    whole = isinstance(lock, dict) and {key: type(value) for key, value in lock.items()} == CONTENT
    return lock if whole else None


def _lives(pid: int, process_started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # A process that was killed and not yet waited for does nothing any more.
        alive = process.status() != psutil.STATUS_ZOMBIE
        return bool(alive and abs(process.create_time() - process_started) < 1.0)
    except psutil.NoSuchProcess:
        return False


def _encoded(lock: dict[str, Any]) -> bytes:
    return json.dumps(lock, sort_keys=True).encode()
