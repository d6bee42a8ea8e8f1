"""``agg database pack``: a finished database as one tar file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from agg_pipeline.database.publishing.members import (
    checked_parts,
    documents,
    sidecar_documents,
    tables_of,
    whole_manifest,
)
from agg_pipeline.database.publishing.plain_tar import END, LONGEST, header, padding
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError


def pack(database: ProposalDatabase, path: str) -> None:
    """Write a database into a tar file: the same bytes for the same database.

    Args:
        database: the database, finished.
        path: the file, or a URL that fsspec knows. A file that is there is replaced.

    Raises:
        UserError: the database is not finished or damaged, or the file would lie in it.
        StorageError: the file cannot be written.
    """
    store, name = Store.of_file(path)
    if store.lies_in(database.store):
        raise UserError(f"{path} lies in the database; choose another folder")
    manifest = whole_manifest(database)
    store.write_parts(name, lambda: _parts(database, manifest))


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
