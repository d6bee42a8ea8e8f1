"""``agg database unpack``: a database out of a tar file that anybody may have made."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

from agg_pipeline.database.contents import DATABASE_LAYOUT, MANIFEST
from agg_pipeline.database.publishing.members import CHUNK, tables_of, whole_manifest
from agg_pipeline.database.publishing.plain_tar import Entry, TarError, content, next_entry
from agg_pipeline.database.reader import ProposalDatabase, open_proposals
from agg_pipeline.execution.resuming import unlike_plan
from agg_pipeline.execution.shard_files import PLAN, SIDECAR, is_temporary, sidecar_path
from agg_pipeline.storage.disk import writing
from agg_pipeline.storage.local_file import cannot_write, filled_folder
from agg_pipeline.storage.lock import is_lock
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import StorageError, UserError
from schemas.words import excerpt


def unpack(path: str, out: str) -> ProposalDatabase:
    """Write the database in a tar file into a new folder.

    Every file is checked against what the sidecars and the manifest say, before the folder gets its name.

    Args:
        path: the tar file, or a URL that fsspec knows.
        out: the folder, of this machine; it is missing or empty.

    Raises:
        UserError: the file holds something else than a whole database, or there is something in the folder. Nothing is
            left behind.
    """
    if not Store(out).is_local():
        raise UserError(f"{out} is no folder of this machine; unpack into one, and use agg database push")
    # The folder that a link leads to.
    folder = Path(os.path.realpath(Store(out).anchored().url))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{out} is not empty; choose another folder")
    store, name = Store.of_file(path)
    try:
        with store.open(name, stream=True) as file, filled_folder(folder) as made:
            _write(file, made)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except TarError as error:
        raise UserError(f"{path} cannot be unpacked: {error}") from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    return open_proposals(str(folder))


def _write(file: IO[bytes], folder: Path) -> None:
    """Write the files of a database into a folder; TarError if it is not one."""
    found: dict[str, tuple[int, bytes]] = {}
    while entry := next_entry(file):
        name = entry.name.removeprefix("./")
        if entry.is_folder:
            if name.rstrip("/") not in (*DATABASE_LAYOUT.places, "."):
                raise TarError(f"{excerpt(name)} is no folder of a database")
            continue
        _check_entry(name, entry, found)
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        hasher = hashlib.sha256()
        with writing(target) as out:
            for part in content(file, entry, CHUNK):
                hasher.update(part)
                out.write(part)
        found[name] = entry.size, hasher.digest()
    for name in (PLAN, MANIFEST):
        if name not in found:
            raise TarError(f"it has no {name}")
    try:
        database = open_proposals(str(folder))
        whole_manifest(database)
    except StorageError:
        raise
    except UserError as error:
        raise TarError(str(error).replace(f"{folder}/", "").replace(str(folder), "the database in it")) from error
    _check_shards(database, found)


def _check_entry(name: str, entry: Entry, found: dict[str, tuple[int, bytes]]) -> None:
    """TarError if a file does not belong into a database, or is too large."""
    if not DATABASE_LAYOUT.owns(name) or is_lock(name) or is_temporary(name):
        raise TarError(f"{excerpt(name)} is no file of a database")
    if name in found:
        raise TarError(f"it has {name} twice")
    if len(found) >= limits.PACKED_FILES:
        raise TarError(f"it has more than {limits.PACKED_FILES:,} files")
    most = _most_bytes(name)
    if entry.size > most:
        raise TarError(f"{name} has {entry.size:,} bytes; the limit is {most:,}")


def _most_bytes(name: str) -> int:
    """Most bytes of a file of a database."""
    if name in (PLAN, MANIFEST):
        return limits.PLAN_BYTES
    if SIDECAR.fullmatch(name):
        return limits.SIDECAR_BYTES
    return limits.JSON_BYTES if name in DATABASE_LAYOUT.summaries else limits.FILE_BYTES


def _check_shards(database: ProposalDatabase, found: dict[str, tuple[int, bytes]]) -> None:
    """TarError if the tables are not those that the sidecars say."""
    known = {PLAN, *DATABASE_LAYOUT.summaries}
    for index, sidecar in database.sidecars.items():
        known.add(sidecar_path(index))
        wrong = unlike_plan(sidecar, database.plan)
        if wrong:
            raise TarError(f"{sidecar_path(index)}: {wrong}")
        for table in tables_of(sidecar):
            known.add(table.path)
            if table.path not in found:
                raise TarError(f"it has no {table.path}")
            if found[table.path] != (table.size, bytes.fromhex(table.sha256)):
                raise TarError(f"{table.path} does not have the checksum that its sidecar says")
    for name in found.keys() - known:
        raise TarError(f"{name} belongs to no finished shard")
