"""The files of a finished database, in the order in which others may see them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from agg_pipeline.database.contents import CITATION, DATABASE_LAYOUT, MANIFEST
from agg_pipeline.database.manifest import SUMMARIES, finished
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.shard_files import PLAN, sidecar_path
from agg_pipeline.storage.store import Store, json_bytes
from schemas import limits
from schemas.canonical import Json
from schemas.errors import UserError

CHUNK = 1 << 23
"""Bytes of a file that are in memory at a time."""


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Attributes:
        path: its path in the database.
        size: its bytes.
        sha256: their hash.
    """

    path: str
    size: int
    sha256: str


def whole_manifest(database: ProposalDatabase) -> Json:
    """The manifest of a database.

    Raises:
        UserError: the database is not finished, or its manifest is of other shards.
    """
    manifest = finished(database.store, database.plan, database.sidecars)
    if manifest is None:
        raise UserError(
            f"{database.store.url} is not finished, or was changed; run the command that makes it again to finish it"
        )
    return manifest


def tables_of(sidecar: Json) -> list[Table]:
    """The tables of a shard, by its sidecar."""
    return [Table(path, file["bytes"], file["sha256"]) for path, file in sidecar["files"].items()]


def documents(database: ProposalDatabase, manifest: Json) -> Iterator[tuple[str, bytes]]:
    """What stands beside the shards of a finished database: paths and bytes, plan and manifest last.

    Raises:
        UserError: a file was changed while it was read.
    """
    for path in DATABASE_LAYOUT.summaries:
        if path in manifest[SUMMARIES]:
            content = database.store.read_listed(path, limits.JSON_BYTES)
            if hashlib.sha256(content).hexdigest() != manifest[SUMMARIES][path]:
                raise changed(database.store, path)
            yield path, content
        elif path == CITATION and database.store.sizes([path]):
            # People write their names into it.
            yield path, database.store.read_listed(path, limits.JSON_BYTES)
    yield PLAN, json_bytes(database.plan)
    yield MANIFEST, json_bytes(manifest)


def sidecar_documents(database: ProposalDatabase) -> Iterator[tuple[str, bytes]]:
    """Paths and bytes of the sidecars."""
    for index, sidecar in database.sidecars.items():
        yield sidecar_path(index), json_bytes(sidecar)


def checked_parts(store: Store, table: Table) -> Iterator[bytes]:
    """The bytes of a table in parts; behind the last one it is certain that they are those that its sidecar says.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    hasher, size = hashlib.sha256(), 0
    try:
        with store.open(table.path, stream=True) as file:
            while size < table.size and (part := file.read(min(CHUNK, table.size - size))):
                hasher.update(part)
                size += len(part)
                yield part
            more = file.read(1)
    except FileNotFoundError:
        raise UserError(f"{store.url}/{table.path} is missing; run agg database validate to see what else is") from None
    if more or hasher.hexdigest() != table.sha256:
        raise changed(store, table.path)


def changed(store: Store, path: str) -> UserError:
    """The error about a file whose bytes are not those that were written."""
    return UserError(
        f"{store.url}/{path} does not have the checksum that the database says; "
        "run agg database validate to see what else was changed"
    )
