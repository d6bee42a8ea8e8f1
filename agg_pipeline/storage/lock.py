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
from typing import Any

import psutil

from agg_pipeline.storage.store import Store
from schemas.errors import StorageError, UserError

LOCK = "lock.json"
HEARTBEAT_SECONDS = 20.0
DEAD_AFTER_SECONDS = 180.0
SETTLE_SECONDS = 0.5


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
def owned(store: Store) -> Iterator[None]:
    """Own an output folder; UserError if another run that lives owns it."""
    lock = _new_lock()
    if not store.create(LOCK, _encoded(lock)):
        _refuse_if_owned(store, lock)
        # The owner is dead. Of several that take over now, the last writer stays; the others see that and leave.
        store.write(LOCK, _encoded(lock))
        time.sleep(SETTLE_SECONDS)
        _refuse_if_owned(store, lock)
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(store, lock, done), daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
        if _is_ours(store, lock):
            store.remove(LOCK)


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


def _beat(store: Store, lock: dict[str, Any], done: threading.Event) -> None:
    while not done.wait(HEARTBEAT_SECONDS) and _is_ours(store, lock):
        try:
            store.write(LOCK, _encoded(lock | {"heartbeat": time.time()}))
        except StorageError:
            # A full disk is reported by the run itself; the next beat may succeed.
            continue


def _read(store: Store) -> dict[str, Any] | None:
    """The lock's content; None if there is none, or only what a power cut left of one."""
    try:
        lock = json.loads(store.read(LOCK))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    kinds = {key: type(value) for key, value in _new_lock().items()}
    whole = isinstance(lock, dict) and {key: type(value) for key, value in lock.items()} == kinds
    return lock if whole else None


def _is_ours(store: Store, lock: dict[str, Any]) -> bool:
    found = _read(store)
    return found is not None and found["run"] == lock["run"]


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
