"""``agg database push`` and ``pull``: a finished database copied to another place.

Shards are copied one by one, each with its sidecar last, as a run writes them; plan and manifest follow when all others
are there. Copying the same database again copies what is missing. Rows that are there, and names that somebody has
written into the copy's ``CITATION.cff``, are never replaced, except by ``overwrite``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from agg_pipeline.database.citing import citation_file
from agg_pipeline.database.contents import CITATION, DATABASE_LAYOUT
from agg_pipeline.database.manifest import edited_citation
from agg_pipeline.database.publishing.members import (
    CHUNK,
    Table,
    checked_parts,
    documents,
    tables_of,
    whole_manifest,
)
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.resuming import delete, old_plan, refuse_foreign, remove_leftovers, unlike_plan
from agg_pipeline.execution.shard_files import damage, listing, publish, read_sidecars, sidecar_path
from agg_pipeline.storage.lock import holder, owned
from agg_pipeline.storage.store import Store, json_bytes
from schemas import limits
from schemas.canonical import Json
from schemas.errors import UserError

SHARDS = 8
"""Shards that are copied at a time."""
COMMITS = "hf://"
"""Where every file that is written is a commit: too slow for the heartbeat of a lock, and one at a time."""


@dataclass(frozen=True)
class Copied:
    """What was copied.

    Attributes:
        files: number of files.
        size: their bytes.
        present: files that were there before.
    """

    files: int
    size: int
    present: int


def transfer(database: ProposalDatabase, to: str, overwrite: bool = False, verify: bool = False) -> Copied:
    """Copy a database.

    Args:
        database: the database, finished; it may lie anywhere.
        to: the folder of the copy, or a URL that fsspec knows.
        overwrite: whether to delete another database that is there.
        verify: whether to read all files at the end, also those that were there, and compare their checksums.

    Raises:
        UserError: the database is not finished or is damaged, or there is something else in the folder.
        StorageError: a file cannot be read or written; the same call copies the rest.
    """
    store = Store(to).anchored()
    if store.lies_in(database.store):
        raise UserError(f"{to} is the database itself, or lies in it; choose another folder")
    manifest = whole_manifest(database)
    with _claimed(store) as check:
        if overwrite:
            _delete_other(store, database)
        sizes = listing(store, DATABASE_LAYOUT)
        there = _same_shards(store, database, sizes)
        if verify:
            there = {index: sidecar for index, sidecar in there.items() if not damage(store, sidecar)}
        remove_leftovers(store, DATABASE_LAYOUT, database.sidecars, sizes)
        missing = {index: sidecar for index, sidecar in database.sidecars.items() if index not in there}
        check()
        if missing:
            untrue = {*map(sidecar_path, missing), *DATABASE_LAYOUT.summaries} - {CITATION}
            store.remove_all(path for path in sizes if path in untrue)
        copied = [*_copy_shards(database.store, store, missing, sizes, check)]
        _check_sizes(store, database)
        check()
        copied += [*_copy_documents(database, store, manifest, overwrite)]
    if verify:
        for sidecar in missing.values():
            for problem in damage(store, sidecar):
                raise UserError(f"{store.url}: {problem}; run the same command again to copy it again")
    new = [size for size in copied if size is not None]
    return Copied(len(new), sum(new), len(copied) - len(new) + (len(DATABASE_LAYOUT.folders) + 1) * len(there))


@contextmanager
def _claimed(store: Store) -> Iterator[Callable[[], None]]:
    """Own the folder of a copy; what is called before it is changed."""
    if not store.url.startswith(COMMITS):
        with owned(store) as ownership:
            yield ownership.check
    elif holder(store) is not None:
        raise UserError(f"{store.url} has a lock file, so a run may be writing there; delete it if none does")
    else:
        yield lambda: None


def _delete_other(store: Store, database: ProposalDatabase) -> None:
    """Delete what is there, unless it is a part of the same database."""
    sizes = listing(store, DATABASE_LAYOUT)
    refuse_foreign(store, DATABASE_LAYOUT, sizes)
    old = old_plan(store, DATABASE_LAYOUT)
    found, broken = read_sidecars(store, DATABASE_LAYOUT, sizes)
    same = all(database.sidecars.get(index) == sidecar for index, sidecar in found.items())
    if broken or not same or (old is not None and old != database.plan):
        delete(store, DATABASE_LAYOUT, sizes)


def _same_shards(store: Store, database: ProposalDatabase, sizes: Mapping[str, int]) -> dict[int, Json]:
    """The sidecars of the shards that were copied before.

    Raises:
        UserError: there is something else than a part of the database.
    """
    refuse_foreign(store, DATABASE_LAYOUT, sizes)
    old = old_plan(store, DATABASE_LAYOUT)
    found, broken = read_sidecars(store, DATABASE_LAYOUT, sizes)
    # The plan is copied last: a copy that was interrupted has none.
    other = old is not None and bool(found or broken) and old != database.plan
    for index, sidecar in found.items():
        other = other or bool(unlike_plan(sidecar, database.plan)) or sidecar != database.sidecars.get(index)
    if other:
        raise UserError(
            f"{store.url} holds another database, or other rows of this one; choose another folder, or use --overwrite "
            "to delete it"
        )
    return {index: sidecar for index, sidecar in found.items() if _complete(sidecar, sizes)}


def _complete(sidecar: Json, sizes: Mapping[str, int]) -> bool:
    return all(sizes.get(table.path) == table.size for table in tables_of(sidecar))


def _copy_shards(
    source: Store, to: Store, missing: Mapping[int, Json], sizes: Mapping[str, int], check: Callable[[], None]
) -> Iterator[int | None]:
    """Copy shards; the bytes of every file, None for one that was there."""
    copy = partial(_copy_shard, source, to, sizes, check)
    pool = ThreadPoolExecutor(1 if to.url.startswith(COMMITS) else SHARDS)
    try:
        for files in pool.map(copy, missing.values()):
            yield from files
    finally:
        pool.shutdown(cancel_futures=True)


def _copy_shard(
    source: Store, to: Store, sizes: Mapping[str, int], check: Callable[[], None], sidecar: Json
) -> list[int | None]:
    copied: list[int | None] = []
    for table in tables_of(sidecar):
        # Only on a disk is reading a file again faster than writing it.
        there = to.is_local() and sizes.get(table.path) == table.size and _is_whole(to, table)
        if not there:
            _copy(source, to, table)
        copied.append(None if there else table.size)
    check()
    publish(to, sidecar)
    return [*copied, len(json_bytes(sidecar))]


def _is_whole(store: Store, table: Table) -> bool:
    try:
        for _ in checked_parts(store, table):
            pass
    except UserError:
        return False
    return True


def _copy(source: Store, to: Store, table: Table) -> None:
    """Copy a table that has the checksum that its sidecar says."""
    if table.size <= CHUNK:
        to.write(table.path, b"".join(checked_parts(source, table)))
    else:
        to.write_parts(table.path, lambda: checked_parts(source, table))


def _check_sizes(store: Store, database: ProposalDatabase) -> None:
    """UserError if a file of the copy is not there, or not all of it."""
    sizes = listing(store, DATABASE_LAYOUT)
    for sidecar in database.sidecars.values():
        for table in tables_of(sidecar):
            if sizes.get(table.path) != table.size:
                raise UserError(
                    f"{store.url}/{table.path} was written, but is not there or not whole; run the same command again"
                )


def _copy_documents(database: ProposalDatabase, to: Store, manifest: Json, overwrite: bool) -> Iterator[int | None]:
    """Copy what stands beside the shards; the bytes of every file, None for one that was there."""
    written = [*documents(database, manifest)]
    there = to.sizes(path for path, _ in written)
    # Names that somebody has written into the copy stay, if nobody has written any into the database.
    as_made = dict(written).get(CITATION) == citation_file(manifest)
    names = edited_citation(to, manifest) if as_made and not overwrite else None
    for path, content in written:
        present = there.get(path) == len(content) and to.read(path, limits.PLAN_BYTES) == content
        if present or (path == CITATION and names is not None):
            yield None
        else:
            to.write(path, content)
            yield len(content)
