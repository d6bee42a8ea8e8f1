"""The lock files that name the run which owns an output folder.

The first run that claims a folder makes ``lock.json``. A run that takes the folder over from a dead one makes
``lock-2.json``, the next ``lock-3.json``: the number is a fencing number, and the highest one owns the folder. A lock
file is made only where there is none, and only by the run that it names, so that of several runs that take over one
folder a single one succeeds, and no run ever writes over the lock of another.

Whether a run lives is never decided by a clock. In the same process table (boot of the machine and PID namespace), the
process itself is looked up, by its number and its start in ticks since boot. Elsewhere, and where processes are hidden,
a run lives if its heartbeat changes while we watch. What is guaranteed, and what is not, stands in
``docs/reference/reliability.md``.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agg_pipeline.storage.process_life import process_lives, process_start, process_table
from agg_pipeline.storage.store import Store
from schemas.canonical import canonical_json
from schemas.checked_json import decode
from schemas.errors import UnusableFileError, UserError
from schemas.words import printable

LOG = logging.getLogger(__name__)
LOCK = "lock.json"
"""Name of the first lock file."""
NAMES = re.compile(r"lock(?:-([2-9]|[1-9][0-9]{1,8}))?\.json")
"""Names of all lock files."""
NO_LOCK = "is no lock of a run, but a folder or a broken link; delete it"
"""What is wrong with what lies in the place of a lock file, and what to do."""
LAST = 10**9 - 1
"""Largest number of a lock file."""
LOCK_BYTES = 1 << 16
"""Largest lock file."""
HEARTBEAT_SECONDS = 10.0
"""Time between two signs of life that a run writes into its lock."""
DEAD_AFTER_SECONDS = 90.0
"""A run whose process cannot be looked up is dead if its heartbeat does not change for this time."""
LOOK_SECONDS = 1.0
"""Time between two looks at its heartbeat."""


@dataclass(frozen=True)
class Lock:
    """Content of a lock file.

    Attributes:
        run: id of the run.
        host: name of its machine, for people.
        pid: number of its process.
        table: the table of processes in which the number counts; "" if unknown.
        started: start of the process in that table; "" if unknown.
        beat: number of its heartbeats, of a fixed length.
        unseen: whether others may write for it, or for a run before it, when its process is dead: workers of an
            existing cluster, or a run that could not be looked up.
    """

    run: str
    host: str
    pid: int
    table: str = ""
    started: str = ""
    beat: str = f"{0:012d}"
    unseen: bool = False

    @property
    def process(self) -> str:
        """The process, for messages."""
        return f"process {self.pid} on {printable(self.host)}"


@dataclass(frozen=True)
class Holder:
    """The run that a folder's highest lock file names.

    Attributes:
        number: fencing number of the lock file.
        lock: its content; None if it is damaged.
        lives: whether the run lives; None if that can only be seen by watching its heartbeat.
    """

    number: int
    lock: Lock | None
    lives: bool | None

    @property
    def process(self) -> str:
        """The process, for messages."""
        return _process(self.lock)

    @property
    def may_write(self) -> bool:
        """Whether something may still write for the run after its folder was taken over."""
        return self.lives is not False or self.lock is None or self.lock.unseen


@dataclass(frozen=True)
class Ownership:
    """What a run has of a folder that it owns. It can be sent to the processes that write there for the run.

    Attributes:
        store: the folder.
        number: fencing number of the run.
        run: id of the run in its lock file.
        disputed: whether the folder was taken over from a run that may have lived on unseen, or whose workers may
            have. What they wrote meanwhile may lie among the files of this run.
    """

    store: Store
    number: int
    run: str
    disputed: bool = False

    def check(self) -> None:
        """Stop a run that has lost its folder, before it writes into it again.

        Raises:
            UserError: another run has taken the folder over, or the lock file is gone.
            StorageError: it cannot be found out who owns the folder.
        """
        found = holder(self.store)
        if found is None:
            raise UserError(
                f"{self.store.url}/{lock_name(self.number)} is gone: it was deleted, or a worker does not see this "
                "folder; the run stops here, and what is finished stays"
            )
        if found.number != self.number or found.lock is None or found.lock.run != self.run:
            raise UserError(
                f"another run ({found.process}) has taken over {self.store.url}, because it considered this one dead; "
                "this one stops here, and what is finished stays"
            )


def lock_name(number: int) -> str:
    """Name of the lock file with a fencing number, from 1."""
    return LOCK if number == 1 else f"lock-{number}.json"


def is_lock(name: str) -> bool:
    """Whether a file has the name of a lock."""
    return NAMES.fullmatch(name) is not None


def holder(store: Store) -> Holder | None:
    """The run that the highest lock file names; None if there is no lock file.

    Raises:
        UserError: something else lies in the place of the lock file.
        StorageError: the lock file cannot be read now.
    """
    while True:
        number = max(_numbers(store), default=0)
        if not number:
            return None
        try:
            lock = _read(store, number)
        except FileNotFoundError:
            # The run has ended between the two looks.
            continue
        return Holder(number, lock, None if lock is None else process_lives(lock.table, lock.pid, lock.started))


def blocked_by(store: Store) -> str:
    """Name of what lies in the place of the next lock file and is none, which keeps every run out; "" if nothing is."""
    name = lock_name(1 + max(_numbers(store), default=0))
    return name if store.is_taken(name) and name not in (found for found, _ in store.listing("")) else ""


@contextmanager
def owned(store: Store, unseen: bool = False) -> Iterator[Ownership]:
    """Own an output folder.

    Args:
        store: the folder.
        unseen: whether workers that outlive this process may write for it, as those of an existing cluster.

    Raises:
        UserError: another run that lives owns it; something else lies in the place of a lock file; at the end, another
            run has taken it over meanwhile.
        StorageError: the lock file cannot be read or written.
    """
    new = store.is_local() and not Path(store.url).exists()
    seen = _locks(store)
    before = _wait_for_end(store)
    number = 1 if before is None else before.number + 1
    if number > LAST:
        raise UserError(f"{store.url}/{lock_name(LAST)} leaves no number for another run; delete it")
    pid = os.getpid()
    disputed = before is not None and before.may_write
    # If this run is killed as well, the next one must know.
    start = process_start(pid)
    lock = Lock(uuid.uuid4().hex, socket.gethostname(), pid, process_table(), start, unseen=unseen or disputed)
    ownership = Ownership(store, number, lock.run, disputed)
    made = store.create(lock_name(number), _encoded(lock))
    found = _locks(store)
    # A lock that was not there before, even one with a lower number, is of a run that began after this one had looked.
    rivals = [other for other in found if other != number and (other not in seen or seen[other] != found[other])]
    if not made or found.get(number) != lock or rivals:
        if made:
            _release(ownership)
        elif blocking := blocked_by(store):
            raise UserError(f"{store.url}/{blocking} {NO_LOCK}")
        rival = max(rivals, default=number)
        raise _refused(store, _process(found[rival]) if rival in found else "another run that started at the same time")
    for other in found.keys() - {number}:
        store.remove(lock_name(other))
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
        if new:
            # A command that has made nothing leaves no folder. One that holds something stays.
            with suppress(OSError):
                Path(store.url).rmdir()


def _wait_for_end(store: Store) -> Holder | None:
    """The run whose folder may be taken over, None for a folder without a lock.

    Raises:
        UserError: a run that lives owns the folder.
    """
    first = found = holder(store)
    if first is None or first.lives is False:
        return first
    if first.lives:
        raise _refused(store, first.process)
    LOG.warning(
        "%s is locked by %s; it is taken over unless that run gives a sign of life within %.0f s",
        *(store.url, first.process, DEAD_AFTER_SECONDS),
    )
    started = time.monotonic()
    while time.monotonic() - started < DEAD_AFTER_SECONDS:
        time.sleep(LOOK_SECONDS)
        found = holder(store)
        if found is None:
            return None
        if found != first:
            raise _refused(store, found.process)
    return found


def _refused(store: Store, other: str) -> UserError:
    return UserError(
        f"{store.url} is being written by another run ({other}); wait for it or choose another output folder"
    )


def _process(lock: Lock | None) -> str:
    """The process that a lock names, for messages."""
    return "a run whose lock file is damaged" if lock is None else lock.process


def _locks(store: Store) -> dict[int, Lock | None]:
    """The lock files in a folder, by number; None for a damaged one."""
    found = {}
    for number in _numbers(store):
        # A run may end between the two looks.
        with suppress(FileNotFoundError):
            found[number] = _read(store, number)
    return found


def _numbers(store: Store) -> list[int]:
    """Fencing numbers of the lock files in a folder."""
    names = (NAMES.fullmatch(name) for name, _ in store.listing(""))
    return [int(name[1] or 1) for name in names if name]


def _read(store: Store, number: int) -> Lock | None:
    """A lock file's content; None if it is damaged, as by a power cut, or of an earlier version of this program.

    Raises:
        FileNotFoundError: there is no such lock file.
        UserError: something else lies in its place.
        StorageError: it cannot be read now.
    """
    try:
        content = store.read(lock_name(number), LOCK_BYTES)
    except UnusableFileError as error:
        raise UserError(f"{error}; no run has made it, so delete it") from error
    try:
        return decode(content, Lock, LOCK)
    except UserError:
        return None


def _beat(ownership: Ownership, lock: Lock, done: threading.Event) -> None:
    """Write signs of life until the run ends. A lock file that is not the run's own any more is left alone."""
    count = 0
    while not done.wait(HEARTBEAT_SECONDS):
        count += 1
        name = lock_name(ownership.number)
        try:
            if _is_own(ownership):
                ownership.store.rewrite(name, _encoded(replace(lock, beat=f"{count:012d}")))
        except (UserError, FileNotFoundError):
            # The run itself notices what is wrong with its folder; the next beat may succeed.
            continue


def _release(ownership: Ownership) -> None:
    try:
        if _is_own(ownership):
            ownership.store.remove(lock_name(ownership.number))
    except (UserError, FileNotFoundError):
        return


def _is_own(ownership: Ownership) -> bool:
    lock = _read(ownership.store, ownership.number)
    return lock is not None and lock.run == ownership.run


def _encoded(lock: Lock) -> bytes:
    return canonical_json(asdict(lock)).encode()
