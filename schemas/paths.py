"""Paths that files of others name."""

from __future__ import annotations


def stays_inside(path: str) -> bool:
    """Whether a path, relative to a folder, names something below the folder: not absolute, no URL, no ``..``."""
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and "://" not in path and ".." not in parts and "\0" not in path
