"""A folder of shards on disk: plan, files and sidecars, for proposals and for evaluations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.storage.disk import TEMPORARY
from agg_pipeline.storage.lock import is_lock
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json
from schemas.checked_json import JsonError, checked, decode
from schemas.documents import Sidecar
from schemas.errors import UnusableFileError, UserError
from schemas.words import plural

PLAN = "plan.json"
SIDECAR = re.compile(r"shards/part-\d{5,}\.json")
"""Paths of sidecars."""
TABLE = re.compile(r"part-\d{5,}\.parquet")
"""Names of Parquet files."""
ADVICE = "run the command that made it again, which makes its shard again"
"""End of the messages about a broken sidecar."""


@dataclass(frozen=True)
class Layout:
    """What lies in a folder of shards.

    Attributes:
        what: what the folder is, in messages.
        version: major version of the format.
        minor: minor version of the format, which is in the plan alone.
        algorithm_version: version of the code that decides the content.
        folders: folders of the files that every shard has.
        counts: type of the layout's own counts in a sidecar (``schemas.documents``).
        summaries: files that are only true of a finished run.
    """

    what: str
    version: int
    minor: int
    algorithm_version: int
    folders: tuple[str, ...]
    counts: Any
    summaries: tuple[str, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """The folders in which the layout has files; "" is the folder of shards itself."""
        return ("", "shards", *self.folders)

    def files(self, index: int) -> list[str]:
        """Paths of the tables of a shard."""
        return [f"{folder}/{shard_name(index)}.parquet" for folder in self.folders]

    def owns(self, path: str) -> bool:
        """Whether a file in the folder has a name that the layout gives."""
        if path in (PLAN, *self.summaries) or is_lock(path):
            return True
        folder, _, name = path.rpartition("/")
        if folder not in self.places:
            return False
        if is_temporary(path):
            return True
        return SIDECAR.fullmatch(path) is not None or (folder in self.folders and TABLE.fullmatch(name) is not None)


@dataclass(frozen=True)
class Stamp:
    """What every file of a run says of the run.

    Attributes:
        config_hash: hash of the plan.
        metadata: metadata of the Parquet files.
    """

    config_hash: str
    metadata: Mapping[str, str]


def is_temporary(path: str) -> bool:
    """Whether a file has the name of one that is being written."""
    return path.rpartition("/")[2].startswith(TEMPORARY)


def shard_name(index: int) -> str:
    """Common stem of a shard's files."""
    return f"part-{index:05d}"


def sidecar_path(index: int) -> str:
    """Path of the completion marker of a shard."""
    return f"shards/{shard_name(index)}.json"


def shard_of(path: str) -> int:
    """Number of the shard in the path of a sidecar."""
    return int(path.removeprefix("shards/part-").removesuffix(".json"))


def write_shard(
    store: Store,
    layout: Layout,
    index: int,
    images: int,
    stamp: Stamp,
    tables: Mapping[str, pa.Table],
    counts: Json,
) -> Json:
    """Write a shard's tables. Others see the shard when its sidecar is published.

    Args:
        store: folder of the shards.
        layout: what lies in it.
        index: number of the shard.
        images: number of images of the plan that the shard covers.
        stamp: what every file says of the run.
        tables: one table per folder of the layout, by name.
        counts: the layout's own keys of the sidecar.

    Returns:
        The sidecar, which is not written yet.
    """
    files = {}
    for folder in layout.folders:
        path = f"{folder}/{shard_name(index)}.parquet"
        content = parquet_bytes(tables[folder].replace_schema_metadata(stamp.metadata))
        store.write(path, content)
        files[path] = file_facts(tables[folder], content)
    sidecar = {
        "format_version": layout.version,
        "shard": index,
        "config_hash": stamp.config_hash,
        "images": images,
        "files": files,
        **counts,
    }
    sidecar["checksum"] = checksum(sidecar)
    return sidecar


def publish(store: Store, sidecar: Json) -> None:
    """Write a shard's sidecar, which says that its tables are there."""
    store.write_json(sidecar_path(sidecar["shard"]), sidecar)


def file_facts(table: pa.Table, content: bytes) -> Json:
    """What is noted of the file of a table, to notice that it was changed."""
    return {"rows": table.num_rows, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def listing(store: Store, layout: Layout) -> dict[str, int]:
    """Bytes of every file in the folders of a layout, by path; each folder is listed once.

    A folder among the tables of the shards, or in the place of a file, has 0 bytes and a path that ends with "/".
    """
    sizes = {}
    for place in layout.places:
        for name, size in store.entries(place):
            path = f"{place}/{name}" if place else name
            if size is not None:
                sizes[path] = size
            elif place in layout.folders or layout.owns(path):
                sizes[f"{path}/"] = 0
    return sizes


def sidecars(store: Store, layout: Layout) -> dict[int, Json]:
    """The sidecars of a folder, by shard; they are read anew at each call.

    Raises:
        UserError: a file with the name of a sidecar does not hold one.
    """
    found, broken = read_sidecars(store, layout, sidecar_files(store))
    refuse_broken(store, broken)
    return found


def refuse_broken(store: Store, broken: Mapping[str, str]) -> None:
    """UserError with the first of the broken sidecars, given by path with what is wrong."""
    for path, wrong in broken.items():
        raise UserError(f"{store.url}/{path} {wrong}; {ADVICE}")


def sidecar_files(store: Store) -> dict[str, int]:
    """Bytes of the files in the folder of sidecars, by path."""
    return {f"shards/{name}": size for name, size in store.listing("shards")}


def read_sidecars(store: Store, layout: Layout, sizes: Mapping[str, int]) -> tuple[dict[int, Json], dict[str, str]]:
    """Read the sidecars among the files of a folder.

    Args:
        store: the folder.
        layout: what lies in it.
        sizes: bytes of files in the folder, by path; others than sidecars are skipped.

    Returns:
        The sidecars, by shard, and what is wrong with each file that has the name of a sidecar and does not hold the
        one that a run has written, by path.
    """
    named = sorted(path for path in sizes if SIDECAR.fullmatch(path))
    large = [path for path in named if sizes[path] > limits.SIDECAR_BYTES]
    found, broken = {}, {path: f"has {sizes[path]:,} bytes; the limit is {limits.SIDECAR_BYTES:,}" for path in large}
    broken |= {path: "is not JSON: it is empty, or no file" for path in named if not sizes[path]}
    named = [path for path in named if path not in broken]
    for path, content in zip(named, store.read_all(named, limits.SIDECAR_BYTES), strict=True):
        sidecar = _parsed(path, content, layout)
        if isinstance(sidecar, str):
            broken[path] = sidecar
        else:
            found[sidecar["shard"]] = sidecar
    return dict(sorted(found.items())), broken


def _parsed(path: str, content: bytes, layout: Layout) -> Json | str:
    """The sidecar in a file, or what is wrong with it."""
    try:
        sidecar: Any = decode(content, Any, path)
    except JsonError as error:
        return error.said
    return checked_sidecar(path, sidecar, layout)


def checked_sidecar(path: str, sidecar: Any, layout: Layout) -> Json | str:
    """The sidecar that a JSON value is, or what is wrong with it.

    Args:
        path: path of its file, which says the shard; "" if the sidecar itself says it.
        sidecar: the value.
        layout: what lies in the folder.
    """
    try:
        checked(sidecar, Sidecar, "is not a sidecar")
        checked(sidecar, layout.counts, "is not a sidecar")
    except JsonError as error:
        return str(error)
    shard = sidecar["shard"]
    if path and path != sidecar_path(shard):
        return f"says that it belongs to shard {shard}"
    if sidecar["format_version"] != layout.version:
        return f"has format {sidecar['format_version']} instead of {layout.version}"
    if sorted(sidecar["files"]) != sorted(layout.files(shard)):
        return "does not list the files of its shard"
    # Version 0.1 of this program wrote none.
    if "checksum" in sidecar and sidecar["checksum"] != checksum(sidecar):
        return "was changed after it was written"
    found: Json = sidecar
    return found


def checksum(sidecar: Json) -> str:
    """Hex blake2b hash (128 bits) of all else in a sidecar or summary, as JSON with sorted keys and without spaces."""
    content = {key: value for key, value in sidecar.items() if key != "checksum"}
    # Python's json would take most of the time of resuming.
    return hashlib.blake2b(msgspec.json.encode(content, order="sorted"), digest_size=16).hexdigest()


def damage(store: Store, sidecar: Json) -> list[str]:
    """What is wrong with the files of a shard, all of which are read: missing, other size, other checksum."""
    problems = []
    for path, expected in sidecar["files"].items():
        try:
            content = store.read(path)
        except FileNotFoundError:
            problems.append(f"{path} is missing")
            continue
        except UnusableFileError as error:
            problems.append(f"{path} {error.what}")
            continue
        if len(content) != expected["bytes"]:
            problems.append(f"{path} has {plural(len(content), 'byte')}, its sidecar says {expected['bytes']}")
        elif hashlib.sha256(content).hexdigest() != expected["sha256"]:
            problems.append(f"{path} does not have the checksum that its sidecar says")
    return problems
