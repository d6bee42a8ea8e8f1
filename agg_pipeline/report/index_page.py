"""``index.html``: a page that links all runs below a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from agg_pipeline.report.templates import filled
from agg_pipeline.storage.store import Store
from schemas.words import printable

INDEX = "index.html"


@dataclass(frozen=True)
class RunEntry:
    """A run as the index shows it.

    Attributes:
        folder: output folder of the run, relative to the folder of the index.
        kind: what the run was, such as "proposals" or "evaluation".
        data: data set and split; "" if unknown.
        model: model that was used; "" if unknown.
        date: when its results were written, as text; "" if it is not finished.
        figures: main figures, in the order in which they are shown.
        pages: files to open, by the text of their link; paths relative to ``folder``.
    """

    folder: str
    kind: str
    data: str
    model: str
    date: str
    figures: tuple[str, ...]
    pages: tuple[tuple[str, str], ...]


def write_index(folder: Path, entries: Sequence[RunEntry]) -> Path:
    """Write the index of a folder, and return its path.

    Args:
        folder: folder of the runs.
        entries: the runs.

    Raises:
        StorageError: the page cannot be written.
    """
    # A name may be no UTF-8: its bytes make the link, and what is shown is printable.
    rows = [
        (
            replace(entry, folder=printable(entry.folder)),
            [(text, quote(os.fsencode(f"{entry.folder}/{page}"))) for text, page in entry.pages],
        )
        for entry in entries
    ]
    Store(str(folder)).write(INDEX, filled("index.html.j2", folder=printable(folder.name), rows=rows).encode())
    return folder / INDEX
