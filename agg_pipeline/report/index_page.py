"""``index.html``: a page that links all runs below a folder; and the links of the pages to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from agg_pipeline.report.templates import filled
from agg_pipeline.storage.store import Store
from schemas.words import printable

INDEX = "index.html"
RUNS = "runs"
"""Name of the folders whose runs are indexed."""


@dataclass(frozen=True)
class Link:
    """A link to another page."""

    text: str
    href: str


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


def runs_folder(out: str) -> Path | None:
    """The nearest folder around an output folder whose name is ``runs``; None if there is none on this machine."""
    store = Store(out)
    if not store.is_local():
        return None
    return next((folder for folder in Path(store.anchored().url).parents if folder.name == RUNS), None)


def index_links(store: Store, beside: Mapping[str, str] | None = None) -> list[Link]:
    """The links of a page to other pages.

    Args:
        store: folder of the page.
        beside: text of a link by the name of a page in the folder; pages that are not there are left out.

    Returns:
        Links to the pages beside it, and to the index of the runs, if the folder lies in one for runs.
    """
    links = [Link(text, quote(name)) for name, text in (beside or {}).items() if store.exists(name)]
    runs = runs_folder(store.url)
    if runs is not None:
        index = os.path.relpath(runs / INDEX, store.anchored().url)
        links.append(Link("All runs", quote(os.fsencode(index))))
    return links


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
