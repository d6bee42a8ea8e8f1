"""A folder of shards on disk: plan, files, sidecars and the rules of resuming, for proposals and for evaluations."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from agg_pipeline.storage.disk import TEMPORARY
from agg_pipeline.storage.lock import is_lock
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.words import plural

PLAN = "plan.json"
SIDECAR = re.compile(r"shards/part-\d{5,}\.json")
"""Paths of sidecars."""
TABLE = re.compile(r"part-\d{5,}\.parquet")
"""Names of Parquet files."""
REMAKE = "run the command that made it again with --verify, which makes damaged shards again"
"""What to do about a damaged table of a shard."""
FILTERED = ("image_id", "kind", "granularity", "bin", "reason")
"""Columns that queries filter by; statistics of the others would only make small files larger."""
TABLE_ERRORS = (OSError, ValueError, pa.ArrowException)
"""What Arrow raises for a damaged Parquet file."""
ADVICE = "run the command that made it again, which makes its shard again"
"""End of the messages about a broken sidecar."""


@dataclass(frozen=True)
class Layout:
    """What lies in a folder of shards.

    Attributes:
        what: what the folder is, in messages.
        version: version of the format.
        algorithm_version: version of the code that decides the content.
        folders: folders of the files that every shard has.
        counts: keys of a sidecar besides those that every layout has.
        summaries: files that are only true of a finished run.
    """

    what: str
    version: int
    algorithm_version: int
    folders: tuple[str, ...]
    counts: tuple[str, ...]
    summaries: tuple[str, ...]

    @property
    def sidecar_keys(self) -> set[str]:
        """What a sidecar must hold."""
        return {"shard", "config_hash", "images", "files", *self.counts}

    @property
    def places(self) -> tuple[str, ...]:
        """The folders in which the layout has files; "" is the folder of shards itself."""
        return ("", "shards", *self.folders)

    def owns(self, path: str) -> bool:
        """Whether a file in the folder has a name that the layout gives."""
        if path in (PLAN, *self.summaries) or is_lock(path):
            return True
        folder, _, name = path.rpartition("/")
        if folder not in self.places:
            return False
        if name.startswith(TEMPORARY):
            return True
        return SIDECAR.fullmatch(path) is not None or (folder in self.folders and TABLE.fullmatch(name) is not None)


def shard_name(index: int) -> str:
    """Common stem of a shard's files."""
    return f"part-{index:05d}"


def sidecar_path(index: int) -> str:
    """Path of the completion marker of a shard."""
    return f"shards/{shard_name(index)}.json"


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file: the same bytes for the same rows."""
    sink = io.BytesIO()
    names = set(table.column_names)
    pq.write_table(
        table,
        sink,
        version="2.6",
        # Four fifths of a database are run lengths, which a higher level makes smaller.
        compression="zstd",
        compression_level=9,
        use_dictionary=[field.name for field in table.schema if pa.types.is_string(field.type)],
        write_statistics=[name for name in FILTERED if name in names],
    )
    return sink.getvalue()


def read_table(store: Store, path: str, columns: Sequence[str] | None = None, advice: str = REMAKE) -> pa.Table:
    """Read a Parquet file.

    Args:
        store: the folder.
        path: path of the file in it.
        columns: columns to read, in order; None for all.
        advice: what to do about a damaged file, in the message.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return parquet_table(store, path, columns)
    except TABLE_ERRORS as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({first_line(error)})"
        raise UserError(f"{store.url}/{path} {what}; {advice}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's text; Arrow adds others for its developers."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def parquet_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, with Arrow's own errors.

    Args:
        store: the folder.
        path: path of the file in it.
        columns: columns to read, in order; None for all.

    Raises:
        FileNotFoundError: the file is missing.
        TABLE_ERRORS: the file is damaged.
    """
    with store.open(path) as file:
        # pq.read_table takes three times as long for a small file. Threads that Arrow reads with, or reads ahead with
        # (18 to 23), sometimes abort the interpreter at its end (apache/arrow#34314).
        parquet = pq.ParquetFile(file, pre_buffer=False)
        table = parquet.read(columns=None if columns is None else list(columns), use_threads=False)
    return table if columns is None else table.select(list(columns))


def write_shard(
    store: Store,
    layout: Layout,
    index: int,
    images: int,
    config_hash: str,
    tables: Mapping[str, pa.Table],
    counts: Json,
) -> Json:
    """Write a shard's files, its sidecar last.

    Args:
        store: folder of the shards.
        layout: what lies in it.
        index: number of the shard.
        images: number of images of the plan that the shard covers.
        config_hash: hash of the plan.
        tables: one table per folder of the layout, by name.
        counts: the layout's own keys of the sidecar.

    Returns:
        The sidecar.
    """
    files = {}
    for folder in layout.folders:
        path = f"{folder}/{shard_name(index)}.parquet"
        content = parquet_bytes(tables[folder])
        store.write(path, content)
        digest = hashlib.sha256(content).hexdigest()
        files[path] = {"rows": tables[folder].num_rows, "bytes": len(content), "sha256": digest}
    sidecar = {
        "format_version": layout.version,
        "shard": index,
        "config_hash": config_hash,
        "images": images,
        "files": files,
        **counts,
    }
    store.write_json(sidecar_path(index), sidecar)
    return sidecar


def listing(store: Store, layout: Layout) -> dict[str, int]:
    """Bytes of every file in the folders of a layout, by path; each folder is listed once."""
    return {
        f"{place}/{name}" if place else name: size for place in layout.places for name, size in store.listing(place)
    }


def sidecars(store: Store, layout: Layout) -> dict[int, Json]:
    """The sidecars of a folder, by shard; they are read anew at each call.

    Raises:
        UserError: a file with the name of a sidecar does not hold one.
    """
    found, broken = read_sidecars(store, layout, sidecar_files(store))
    for path, wrong in broken.items():
        raise UserError(f"{store.url}/{path} {wrong}; {ADVICE}")
    return found


def sidecar_files(store: Store) -> list[str]:
    """Paths of the files in the folder of sidecars."""
    return [f"shards/{name}" for name, _ in store.listing("shards")]


def read_sidecars(store: Store, layout: Layout, paths: Iterable[str]) -> tuple[dict[int, Json], dict[str, str]]:
    """Read the sidecars among the files of a folder.

    Args:
        store: the folder.
        layout: what lies in it.
        paths: paths of files in the folder; others than sidecars are skipped.

    Returns:
        The sidecars, by shard, and what is wrong with each file that has the name of a sidecar and does not hold one,
        by path.
    """
    named = sorted(path for path in paths if SIDECAR.fullmatch(path))
    found, broken = {}, {}
    for path, content in zip(named, store.read_all(named), strict=True):
        sidecar = _parsed(path, content, layout)
        if isinstance(sidecar, str):
            broken[path] = sidecar
        else:
            found[sidecar["shard"]] = sidecar
    return dict(sorted(found.items())), broken


def _parsed(path: str, content: bytes, layout: Layout) -> Json | str:
    """The sidecar in a file, or what is wrong with it."""
    try:
        sidecar = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        return f"is not JSON ({error})"
    if not isinstance(sidecar, dict) or layout.sidecar_keys - sidecar.keys():
        return "is not a sidecar"
    shard = sidecar["shard"]
    if not isinstance(shard, int) or path != sidecar_path(shard):
        return f"says that it belongs to shard {shard}"
    return sidecar


def damage(store: Store, sidecar: Json) -> list[str]:
    """What is wrong with the files of a shard, all of which are read: missing, other size, other checksum."""
    problems = []
    for path, expected in sidecar["files"].items():
        try:
            content = store.read(path)
        except FileNotFoundError:
            problems.append(f"{path} is missing")
            continue
        if len(content) != expected["bytes"]:
            problems.append(f"{path} has {plural(len(content), 'byte')}, its sidecar says {expected['bytes']}")
        elif hashlib.sha256(content).hexdigest() != expected["sha256"]:
            problems.append(f"{path} does not have the checksum that its sidecar says")
    return problems
