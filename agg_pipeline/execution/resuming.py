"""The rules of resuming: which folder a run may write to, and what of an earlier run it keeps.

A folder that holds a plan of this program is this program's: a run reads, replaces and deletes the files whose names
the layout gives, and leaves all others alone. In the folders of tables there must be no others but hidden ones. A
folder without such a plan must be empty, except for hidden files and what desktops leave in folders.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from agg_pipeline.execution.plan import is_plan, refuse_other_plan
from agg_pipeline.execution.shard_files import (
    PLAN,
    Layout,
    damage,
    is_temporary,
    listing,
    read_sidecars,
    sidecar_path,
)
from agg_pipeline.storage.lock import Ownership, is_lock
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json
from schemas.errors import StorageError, UserError
from schemas.words import plural, printable

LOG = logging.getLogger(__name__)
LITTER = ("Thumbs.db", "desktop.ini", "Icon\r")
"""Visible files that desktops leave in folders."""
HARMLESS = (
    *(".tmp-", ".agg-", ".git", ".dvc", ".DS_Store", "._", ".directory", ".ipynb_checkpoints", ".nfs", ".fuse_hidden"),
    *(".snapshot", ".Trash", ".stfolder", ".syncthing"),
)
"""How hidden files and folders begin that programs leave in folders of data. Others say that a folder is somebody's."""
PARQUET_METADATA = ("_metadata", "_common_metadata")
"""Files that pandas reads although their names begin with an underscore."""


@dataclass(frozen=True)
class Earlier:
    """What earlier runs have left in a folder.

    Attributes:
        plan: the plan that the folder holds; None for none.
        sizes: bytes of the files of the layout's folders, by path.
        found: sidecars of the finished shards, by shard.
        damaged: shards whose files are unlike their sidecars, or whose sidecars are unlike the plan.
        broken: what is wrong with files that have the name of a sidecar and hold none, by path.
    """

    plan: Json | None
    sizes: Mapping[str, int]
    found: Mapping[int, Json]
    damaged: tuple[int, ...]
    broken: Mapping[str, str]


def earlier(store: Store, layout: Layout, plan: Json, overwrite: bool = False, verify: bool = False) -> Earlier:
    """Find what a run may keep of what is in a folder; nothing is changed.

    Args:
        store: the folder.
        layout: what lies in it.
        plan: the plan of the run.
        overwrite: whether nothing is to be kept.
        verify: whether to compare the checksums of all files; otherwise their sizes decide.

    Raises:
        UserError: the folder is somebody else's, or holds another run, or files that would be read as tables.
    """
    old = old_plan(store, layout)
    sizes = listing(store, layout)
    refuse_foreign(store, layout, sizes)
    found, broken = read_sidecars(store, layout, {} if overwrite else sizes)
    # A plan under which nothing is finished protects nothing, and is replaced. A broken sidecar still shows that a
    # shard was finished, whose files another plan must not delete.
    if found or broken:
        refuse_other_plan(store.url, old, plan)
    again = {*damaged(store, found, sizes, plan, verify)}
    kept = {index: sidecar for index, sidecar in found.items() if index not in again}
    return Earlier(old, sizes, kept, tuple(sorted(again)), broken)


def claim(store: Store, layout: Layout, plan: Json, overwrite: bool = False, verify: bool = False) -> dict[int, Json]:
    """Make a folder the place of a plan, and find the shards that are finished.

    Shards whose files are damaged lose their sidecars, and those whose sidecar is broken lose all files. What killed
    runs left is deleted, as are files with the names of shards that are not finished or not planned.

    Args:
        store: the folder, which this run owns.
        layout: what lies in it.
        plan: the plan of this run.
        overwrite: whether to delete what another run left.
        verify: whether to compare the checksums of all files; otherwise their sizes decide.

    Returns:
        The sidecars of the finished shards, by shard.

    Raises:
        UserError: as ``earlier``.
    """
    there = earlier(store, layout, plan, overwrite, verify)
    if overwrite:
        delete(store, layout, there.sizes)
    if overwrite or there.plan != plan:
        store.write_json(PLAN, plan)
    if overwrite:
        return {}
    for path, wrong in there.broken.items():
        LOG.warning("%s/%s %s; its shard is made again", store.url, path, wrong)
    for index in there.damaged:
        store.remove(sidecar_path(index))
    remove_leftovers(store, layout, there.found, there.sizes)
    return dict(there.found)


def foreign_tables(layout: Layout, files: Iterable[str]) -> list[str]:
    """What no run has written and lies where others look for tables, sorted.

    Programs that read a folder of tables take whatever lies in it for a table, except for some hidden files.

    Args:
        layout: what lies in the folder.
        files: paths of the files in it; those of folders end with "/".
    """
    found = []
    for path in files:
        folder, _, name = path.removesuffix("/").rpartition("/")
        if folder in layout.folders and not layout.owns(path) and not _is_hidden(name):
            found.append(path.removesuffix("/"))
    return sorted(found)


def _is_hidden(name: str) -> bool:
    """Whether programs that read a folder of tables skip a name, as PyArrow, pandas and patterns as *.parquet do."""
    if name.startswith("."):
        return True
    return name.startswith("_") and name not in PARQUET_METADATA and not name.lower().endswith(".parquet")


def folders_for_files(layout: Layout, files: Iterable[str]) -> list[str]:
    """Folders that lie in the place of a file of a layout, sorted; arguments as ``foreign_tables``."""
    return sorted(path[:-1] for path in files if path.endswith("/") and layout.owns(path[:-1]))


def refuse_foreign(store: Store, layout: Layout, files: Iterable[str]) -> None:
    """UserError if something would be read as a table, or lies in the place of a file; arguments as there."""
    for path in foreign_tables(layout, files):
        raise UserError(
            f"{store.url}/{printable(path)} would be read as a part of {layout.what}; move it to another folder"
        )
    for path in folders_for_files(layout, files):
        raise UserError(f"{store.url}/{path} is a folder, and {layout.what} has a file there; move the folder away")


def damaged(store: Store, found: Mapping[int, Json], sizes: Mapping[str, int], plan: Json, verify: bool) -> list[int]:
    """The shards that must be made again: unlike the plan, or with files unlike their sidecars.

    Args:
        store: the folder.
        found: the sidecars, by shard.
        sizes: bytes of the files of the folder, by path.
        plan: the plan.
        verify: whether to compare checksums, several files at a time; otherwise sizes.
    """
    other = [index for index, sidecar in found.items() if unlike_plan(sidecar, plan)]
    if verify:
        # Hashing releases Python's lock.
        with ThreadPoolExecutor() as pool:
            problems = pool.map(partial(damage, store), found.values())
            return other + [index for index, wrong in zip(found, problems, strict=True) if wrong]
    return other + [
        index
        for index, sidecar in found.items()
        if any(sizes.get(path) != file["bytes"] for path, file in sidecar["files"].items())
    ]


def unlike_plan(sidecar: Json, plan: Json) -> str:
    """What a sidecar says that its plan does not; "" if they agree."""
    index, images = sidecar["shard"], sidecar["images"]
    if index >= len(plan["shards"]):
        return f"the plan has no shard {index}"
    if sidecar["config_hash"] != plan["config_hash"]:
        return "was made under another configuration than the plan's"
    planned = len(plan["shards"][index])
    return "" if 0 < images <= planned else f"covers {plural(images, 'image')} of {planned}"


def remove_leftovers(store: Store, layout: Layout, found: Mapping[int, Json], files: Iterable[str]) -> None:
    """Delete what killed runs left: temporary files, and files of shards that have no sidecar.

    Args:
        store: the folder.
        layout: what lies in it.
        found: sidecars of the finished shards, by shard.
        files: paths of all files in the folder.
    """
    kept = {path for index, sidecar in found.items() for path in (sidecar_path(index), *sidecar["files"])}
    kept |= {PLAN, *layout.summaries}
    store.remove_all(path for path in files if path not in kept and not is_lock(path) and layout.owns(path))


def remove_temporary_files(ownership: Ownership, layout: Layout) -> None:
    """Delete the temporary files of a folder, unless it is another run's by now, or cannot be changed now."""
    with suppress(UserError):
        ownership.check()
        ownership.store.remove_all(path for path in listing(ownership.store, layout) if is_temporary(path))


def delete(store: Store, layout: Layout, files: Iterable[str]) -> None:
    """Delete a run's files, except the lock.

    Sidecars go first, so that no shard without all its files looks finished. The plan goes last: should the deletion be
    interrupted, a folder without a plan would look like somebody else's.

    Args:
        store: the folder.
        layout: what lies in it; other files stay.
        files: paths of all files in the folder.
    """
    own = [path for path in files if path != PLAN and not is_lock(path) and layout.owns(path)]
    store.remove_all(sorted(own, key=lambda path: not path.startswith("shards/")))
    store.remove(PLAN)


def old_plan(store: Store, layout: Layout) -> Json | None:
    """The plan that a folder holds; None if there is none, or a damaged one.

    Raises:
        UserError: the folder holds no plan of this program, but somebody's files.
    """
    try:
        content = store.read_json(PLAN, limit=limits.PLAN_BYTES)
    except StorageError:
        raise
    except UserError:
        content = None
    if is_plan(content):
        return dict(content)
    files = store.files()
    not_ours: set[str] = set()
    if not read_sidecars(store, layout, dict(store.sizes(files)))[0]:
        # Summaries are never without shards, so that a README.md here is somebody's.
        not_ours = {*layout.summaries} if content is None else {PLAN, *layout.summaries}
    for path in files:
        if path in not_ours or not (layout.owns(path) or (is_litter(path) and not _is_personal(path))):
            raise UserError(f"{store.url} holds {path} and is not {layout.what}; choose another output folder")
    return None


def is_litter(path: str) -> bool:
    """Whether a file is hidden, or one that desktops leave in folders."""
    parts = path.split("/")
    return parts[-1] in LITTER or any(part.startswith(".") for part in parts)


def _is_personal(path: str) -> bool:
    """Whether a hidden file is of a kind that somebody keeps, such as those of a home folder."""
    return any(part.startswith(".") and not part.startswith(HARMLESS) for part in path.split("/"))
