"""``agg database pack``: a finished database as one tar file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.publishing.members import (
    checked_parts,
    documents,
    sidecar_documents,
    tables_of,
    whole_manifest,
)
from agg_pipeline.database.publishing.plain_tar import BLOCK, END, LONGEST, TarError, header, next_entry, padding
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UnusableFileError, UserError


def pack(database: ProposalDatabase, path: str, overwrite: bool = False) -> None:
    """Write a database into a tar file: the same bytes for the same database.

    Args:
        database: the database, finished.
        path: the file, or a URL that fsspec knows.
        overwrite: whether to replace a file that this function has written.

    Raises:
        UserError: the database is not finished or damaged, the file would lie in it, or another file is there.
        StorageError: the file cannot be written.
    """
    store, name = Store.of_file(path)
    if store.lies_in(database.store):
        raise UserError(f"{path} lies in the database; choose another folder")
    if store.exists(name):
        if not _is_packed(store, name):
            raise UserError(f"{path} is there, and agg database pack has not written it; choose another name")
        if not overwrite:
            raise UserError(f"{path} is there already; choose another name, or use --overwrite to replace it")
    manifest = whole_manifest(database)
    store.write_parts(name, lambda: _parts(database, manifest))


def _is_packed(store: Store, name: str) -> bool:
    """Whether a file begins as those that ``pack`` writes: with a file of a database, without time and owner."""
    try:
        with store.open(name, stream=True) as file:
            block = file.read(BLOCK)
        entry = next_entry(io.BytesIO(block))
        return entry is not None and DATABASE_LAYOUT.owns(entry.name) and block == header(entry.name, entry.size)
    except (TarError, UnusableFileError):
        return False


def _parts(database: ProposalDatabase, manifest: Json) -> Iterator[bytes]:
    """The bytes of the tar file: first what says the checksums of the tables."""
    for path, content in chain(documents(database, manifest), sidecar_documents(database)):
        yield _checked_header(path, len(content))
        yield content + padding(len(content))
    for sidecar in database.sidecars.values():
        for table in tables_of(sidecar):
            yield _checked_header(table.path, table.size)
            yield from checked_parts(database.store, table)
            yield padding(table.size)
    yield END


def _checked_header(path: str, size: int) -> bytes:
    if size > LONGEST:
        raise UserError(f"{path} has {size:,} bytes, and a tar file holds files of at most {LONGEST:,}")
    return header(path, size)
