"""``open_proposals``: a proposal database for its consumers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.contents import DATABASE, DATABASE_LAYOUT
from agg_pipeline.database.image_ids import similar
from agg_pipeline.database.impossible_values import REPAIR, impossible_values
from agg_pipeline.execution.parquet_files import read_table
from agg_pipeline.execution.shard_files import PLAN, read_sidecars, refuse_broken, shard_name, sidecar_files
from agg_pipeline.storage.rle import decode, decode_crop
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json, Row
from schemas.checked_json import checked
from schemas.crop import MaskCrop
from schemas.documents import Plan
from schemas.errors import UserError
from schemas.tables import FILES, FORMAT_VERSION, KINDS
from schemas.words import excerpt, possible
from stages.sampler import row_weights

T = TypeVar("T")
AGG_KINDS = ("object", "part", "complement")


def open_proposals(path: str) -> ProposalDatabase:
    """Open a proposal database, or the one in the output folder of a run.

    Args:
        path: a folder, or a URL that fsspec knows.

    Returns:
        The database with the shards that are finished now; tables are read when they are asked for.

    Raises:
        UserError: there is no database, or its plan or a sidecar is damaged.
    """
    database = inspect_proposals(path)
    refuse_broken(database.store, database.broken)
    return database


def inspect_proposals(path: str) -> ProposalDatabase:
    """Open a proposal database as ``open_proposals`` does, even if sidecars of it are broken.

    Raises:
        UserError: there is no database, or its plan is damaged.
    """
    store = Store(str(path))
    if not store.exists(PLAN) and store.exists(f"{DATABASE}/{PLAN}"):
        store = store.below(DATABASE)
    if not store.exists(PLAN):
        raise UserError(
            f"{store.url} is not a proposal database, because it has neither {PLAN} nor {DATABASE}/{PLAN}; "
            "name the output folder of agg proposals run"
        )
    plan: Json = store.read_json(PLAN, dict[str, Any], limits.PLAN_BYTES)
    if plan.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{store.url} has format {excerpt(str(plan.get('format_version')))}, and this version of agg reads "
            f"{FORMAT_VERSION}; make it again"
        )
    checked(plan, Plan, f"{store.url}/{PLAN} is not the plan of a proposal database")
    found, broken = read_sidecars(store, DATABASE_LAYOUT, sidecar_files(store))
    return ProposalDatabase(store, plan, found, broken)


@dataclass(frozen=True, eq=False)
class ProposalDatabase:
    """The finished shards of a database; tables are read when they are asked for, and masks decoded one by one.

    Attributes:
        store: folder of the database.
        plan: data set, model, configuration and the images of every shard.
        sidecars: sidecars of the finished shards, by shard.
        broken: what is wrong with the sidecars that are broken, by path; empty unless the database is inspected.
    """

    store: Store
    plan: Json = field(repr=False)
    sidecars: Mapping[int, Json] = field(repr=False)
    broken: Mapping[str, str] = field(default_factory=dict, repr=False)

    def table(self, name: str, columns: Sequence[str] | None = None, shards: Sequence[int] | None = None) -> pa.Table:
        """Read a table of the database, with its rows in the order of the plan.

        Args:
            name: ``proposals``, ``images`` or ``rejects``.
            columns: columns to read; defaults to all.
            shards: numbers of the shards to read; defaults to all that are finished.

        Raises:
            KeyError: the table or a column is unknown, or a shard is not finished.
            UserError: a file is missing or damaged, or holds values that cannot be used.
        """
        schema = FILES[name]
        if columns is not None:
            schema = pa.schema([schema.field(column) for column in columns])
        chosen = self.sidecars if shards is None else {index: self.sidecars[index] for index in shards}
        paths = (f"{name}/{shard_name(index)}.parquet" for index in chosen)
        parts = [self._read(name, path, columns) for path in paths]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def _read(self, name: str, path: str, columns: Sequence[str] | None) -> pa.Table:
        table = read_table(self.store, path, FILES[name], columns)
        for wrong in impossible_values(name, table):
            raise UserError(f"{self.store.url}/{path} {wrong}; {REPAIR}")
        return table

    def proposals(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of ``proposals``."""
        return self.table("proposals", columns)

    def images(self) -> pa.Table:
        """All rows of ``images``."""
        return self.table("images")

    def rejects(self) -> pa.Table:
        """All rows of ``rejects``."""
        return self.table("rejects")

    @cached_property
    def _shard_of(self) -> dict[str, int]:
        return {image: index for index, ids in enumerate(self.plan["shards"]) for image in ids}

    def of_image(self, image_id: str) -> pa.Table:
        """The proposals of one image; only its shard is read.

        Raises:
            UserError: the database does not have the image, or not yet, or the file of its shard is damaged.
        """
        shard = self._shard_of.get(image_id)
        if shard is None:
            alike = similar(image_id, self._shard_of)
            hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
            raise UserError(f"{self.store.url} has no image {image_id!r}{hint}")
        sidecar = self.sidecars.get(shard)
        if sidecar is None or image_id not in self.plan["shards"][shard][: sidecar["images"]]:
            raise UserError(
                f"{self.store.url} plans image {image_id!r}, but has not finished it; run the command that makes the "
                "database again to resume, and without --limit-images"
            )
        table = self.table("proposals", shards=[shard])
        return table.filter(pc.equal(table["image_id"], image_id))

    def masks(self, table: pa.Table) -> Iterator[NDArray[np.bool_]]:
        """The (H, W) bool mask of every row of a table with rle, height and width, decoded as it is asked for."""
        for row in table.select(["rle", "height", "width"]).to_pylist():
            yield mask_of(row, f"{self.store.url}/proposals")

    def mask(self, row: Row) -> NDArray[np.bool_]:
        """The (H, W) bool mask of a row with image_id, rle, height and width; UserError if it is damaged."""
        return mask_of(row, self._file_of(row["image_id"]))

    def crop(self, row: Row) -> MaskCrop:
        """The packed mask of a row, as ``mask``."""
        return crop_of(row, self._file_of(row["image_id"]))

    def damaged(self, image_id: str, what: str) -> UserError:
        """The error about rows of an image that are unusable.

        Args:
            image_id: id of the image.
            what: what is wrong with its file, such as ``has no object 3``.
        """
        return UserError(f"{self._file_of(image_id)} {what}; {REPAIR}")

    def _file_of(self, image_id: str) -> str:
        """The file of an image's proposals, for messages; their folder if the image is not planned."""
        shard = self._shard_of.get(image_id)
        return f"{self.store.url}/proposals" + ("" if shard is None else f"/{shard_name(shard)}.parquet")

    def sampling_weights(self, kinds: Sequence[str] = AGG_KINDS) -> NDArray[np.float64]:
        """Weight of every row of ``proposals()``: 1 / share of its bin among the rows of ``kinds``.

        Args:
            kinds: kinds of rows that are drawn; rows of other kinds have weight 0.

        Returns:
            The weights in the order of the rows, (n,).

        Raises:
            UserError: a kind is unknown.
        """
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise UserError(f"unknown kind {unknown[0]!r}; {possible(unknown[0], KINDS)}")
        table = self.proposals(["kind", "bin"])
        chosen = np.isin(table["kind"].to_numpy(zero_copy_only=False).astype(str), list(kinds))
        bins = table["bin"].to_numpy()
        weights = np.zeros(len(bins))
        weights[chosen] = row_weights(bins[chosen])
        return weights


def mask_of(row: Mapping[str, Any], where: str = "the database") -> NDArray[np.bool_]:
    """The (H, W) bool mask of a row (a mapping with rle, height and width).

    Args:
        row: the row.
        where: what it was read from, for the message.

    Raises:
        UserError: the run lengths are broken, of another size, or of no pixel.
    """
    mask = _decoded(decode, row, where)
    if not mask.any():
        raise _damaged_mask(row, where, "it has no pixel")
    return mask


def crop_of(row: Mapping[str, Any], where: str) -> MaskCrop:
    """The packed mask of a row; arguments and errors are those of ``mask_of``."""
    mask = _decoded(decode_crop, row, where)
    if not mask.box.height:
        raise _damaged_mask(row, where, "it has no pixel")
    return mask


def _decoded(decoder: Callable[[bytes, int, int], T], row: Mapping[str, Any], where: str) -> T:
    try:
        return decoder(row["rle"], row["height"], row["width"])
    except ValueError as error:
        raise _damaged_mask(row, where, str(error)) from error


def _damaged_mask(row: Mapping[str, Any], where: str, what: str) -> UserError:
    return UserError(f"{where} has a damaged mask of {row['height']} x {row['width']} pixels ({what}); {REPAIR}")
