"""Files and folders on the command line: paths, URLs, and root folders with the name of their data set."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from agg_pipeline.storage.user_path import user_path
from schemas.errors import UserError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SLIP = re.compile(r"(s3|s3a|gs|gcs|hf|http|https|ftp|sftp|hdfs|abfs|abfss|az|memory|file):/*(.*)", re.IGNORECASE)


def expanded(text: str) -> str:
    """A path, URL, or NAME:PATH with the home folder in the place of ``~``; other text stays as it is.

    Raises:
        UserError: ``~name`` names nobody.
    """
    name, _, path = text.partition(":")
    if path.startswith("~"):
        return f"{name}:{user_path(path)}"
    return str(user_path(text)) if text.startswith("~") else text


class Place(click.Path):
    """A path of a file or folder in which ``~`` is the home folder, or a URL that fsspec knows.

    It is a ``str``. With ``path_type=Path`` it is a ``Path`` of this machine, and a URL is refused.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, expanded; BadParameter for a URL where only a path can be used, and for a URL with a slip."""
        if self.type is Path and _URL.match(os.fspath(value)):
            self.fail(f"{os.fspath(value)!r} is a URL, and this must be a path of this machine", param, ctx)
        slip = _SLIP.fullmatch(os.fspath(value))
        if slip and not _URL.match(os.fspath(value)) and not Path(os.fspath(value)).exists():
            meant = f"{slip[1]}://{slip[2]}"
            self.fail(
                f"{os.fspath(value)!r} is neither a URL nor a path that is there; did you mean {meant!r}?", param, ctx
            )
        return super().convert(expanded(os.fspath(value)), param, ctx)


PLACE = Place(readable=False)
FILE = Place(dir_okay=False)
LOCAL_FILE = Place(dir_okay=False, path_type=Path)


def named_root(text: str) -> tuple[str, str]:
    """Name of a data set, "" for none, and its root folder, from NAME:FOLDER or FOLDER; UserError for another name."""
    from agg_pipeline.datasets.registry import known_dataset

    name, root = name_and_root(text)
    return (known_dataset(name).about.name if name else ""), root


def name_and_root(text: str) -> tuple[str, str]:
    """Any name, "" for none, and a folder, from NAME:FOLDER or FOLDER."""
    name, colon, root = text.partition(":")
    if not colon or root.startswith("//") or "/" in name:  # a URL, or a path
        return "", text
    return name, root


def named_roots(given: Sequence[str]) -> dict[str, str]:
    """Names of data sets, "" for none, and their root folders; UserError if a name is there twice."""
    roots = dict(map(name_and_root, given))
    if len(roots) < len(given):
        raise UserError("--data is given twice for the same data set; give each as NAME:FOLDER")
    return roots
