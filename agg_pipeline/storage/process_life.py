"""Whether a process lives, told so that no clock, reboot or container confuses it with another one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import psutil

PROC = Path("/proc")
STARTED = 19
"""Place of the start among the fields of ``/proc/<pid>/stat`` after the name, from 0: field 22 of proc(5)."""


def process_table() -> str:
    """The table of processes that this process sees: boot of the machine, PID and time namespaces; "" if unknown."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        if (PROC / "self").resolve().name != str(os.getpid()):
            # The mounted table is that of another namespace: there, our numbers mean other processes.
            return ""
        time = PROC / "self/ns/time"
        # In another time namespace, the same process has another start. Kernels before 5.6 have none.
        times = time.stat().st_ino if time.exists() else 0
        return f"{boot}:{(PROC / 'self/ns/pid').stat().st_ino}:{times}"
    except OSError:
        # Not Linux: a machine has one table, which its network address names.
        return "" if PROC.is_dir() else f"{uuid.getnode():x}"


def process_start(pid: int) -> str:
    """When a process was started, in ticks since the boot of its machine; "" if it is gone, or hidden from us."""
    try:
        # The name, in parentheses, may hold anything.
        return (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[STARTED].decode()
    except (OSError, IndexError):
        return "" if PROC.is_dir() else _created(pid)


def process_lives(table: str, pid: int, started: str) -> bool | None:
    """Whether a process lives; None if it cannot be looked up from here.

    Args:
        table: its table of processes.
        pid: its number there.
        started: its start.
    """
    if not table or not started or table != process_table():
        return None
    if not 0 < pid < 1 << 31:
        return False
    there = process_start(pid)
    if not there:
        # With hidepid, /proc shows nothing of the processes of other users, or not even their folders.
        return None if _exists(pid) else False
    if there != started:
        return False
    try:
        # A process that was killed and not yet waited for does nothing any more.
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return None


def _exists(pid: int) -> bool:
    """Whether there is a process or thread with a number, of whatever user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _created(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""
