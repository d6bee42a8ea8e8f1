"""Other machines and other disks, as far as this one can play them: Linux namespaces and small file systems."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.processes import needs

PID = ("unshare", "--pid", "--fork", "--mount-proc")
"""A container: another table of processes."""
TIME = ("unshare", "--time", "--boottime", "600", "--fork")
"""The same processes, and another time since boot."""


def host(name: str) -> tuple[str, ...]:
    """Another host name."""
    return _inside("--uts", f"hostname {name}")


def mounted(command: str) -> tuple[str, ...]:
    """Another view of the file system, made by a command."""
    return _inside("--mount", command)


def without(folder: Path) -> tuple[str, ...]:
    """A machine on which a folder is empty: its mount is missing."""
    return mounted(f"mount -t tmpfs none '{folder}'")


def read_only(folder: Path) -> tuple[str, ...]:
    """A machine on which a folder cannot be written."""
    return mounted(f"mount --bind '{folder}' '{folder}' && mount -o remount,ro,bind '{folder}'")


def _inside(namespace: str, command: str) -> tuple[str, ...]:
    return "unshare", namespace, "sh", "-c", f'{command} && exec "$@"', "sh"


def needs_namespace(prefix: tuple[str, ...]) -> None:
    """Skip a test whose namespace is not permitted here."""
    needs(*prefix, "true")


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory.

    Args:
        place: where it is mounted.
        options: of mount, such as ``size=72k``.
    """
    place.mkdir(exist_ok=True)
    needs("mount", "-t", "tmpfs", "-o", options, "none", place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def remount(place: Path, options: str) -> None:
    """Change the options of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)
