"""``open_proposals``: a proposal database for its consumers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.contents import DATABASE, DATABASE_LAYOUT, MANIFEST
from agg_pipeline.database.image_figure import image_figure, image_pixels
from agg_pipeline.database.image_ids import similar
from agg_pipeline.database.impossible_values import REPAIR, impossible_values
from agg_pipeline.execution.parquet_files import read_table
from agg_pipeline.execution.plan import layout_of, sources
from agg_pipeline.execution.resuming import unlike_plan
from agg_pipeline.execution.shard_files import (
    PLAN,
    checked_sidecar,
    read_sidecars,
    refuse_broken,
    shard_name,
    sidecar_files,
)
from agg_pipeline.figures.mask_figure import Figure
from agg_pipeline.storage.rle import decode, decode_crop
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json, Row
from schemas.checked_json import checked
from schemas.crop import MaskCrop
from schemas.documents import CombinedPlan, Manifest, Plan
from schemas.errors import StorageError, UserError
from schemas.tables import FILES, FORMAT_MINOR, FORMAT_VERSION, KINDS, SOURCE, stored_schema
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
    store, plan = _planned(path)
    # A request for every shard would take longer than all that is read of one image.
    repeated = None if store.is_local() else _repeated_sidecars(store, plan)
    if repeated is not None:
        return ProposalDatabase(store, plan, repeated)
    found, broken = read_sidecars(store, DATABASE_LAYOUT, sidecar_files(store))
    refuse_broken(store, broken)
    return ProposalDatabase(store, plan, found)


def inspect_proposals(path: str) -> ProposalDatabase:
    """Open a proposal database as ``open_proposals`` does, even if sidecars of it are broken.

    Raises:
        UserError: there is no database, or its plan is damaged.
    """
    store, plan = _planned(path)
    found, broken = read_sidecars(store, DATABASE_LAYOUT, sidecar_files(store))
    return ProposalDatabase(store, plan, found, broken)


def _planned(path: str) -> tuple[Store, Json]:
    """The folder of a database, and its plan."""
    store = Store(str(path))
    if not store.exists(PLAN) and store.exists(f"{DATABASE}/{PLAN}"):
        store = store.below(DATABASE)
    if not store.exists(PLAN):
        raise UserError(f"{store.url} is not a proposal database, because it {_lack(store)}")
    plan: Json = store.read_json(PLAN, dict[str, Any], limits.PLAN_BYTES)
    if plan.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{store.url} has format {excerpt(str(plan.get('format_version')))}, and this version of agg reads "
            f"{FORMAT_VERSION}; make it again, or use the version of agg that made it"
        )
    kind = CombinedPlan if "sources" in plan else Plan
    checked(plan, kind, f"{store.url}/{PLAN} is not the plan of a proposal database")
    return store, plan


def _lack(store: Store) -> str:
    """Why there is no database in a place, and what to do."""
    if store.is_local() and Path(store.url).is_file():
        return "is a file; agg database unpack makes a folder of a packed database"
    if not store.exists():
        return "does not exist"
    return f"has neither {PLAN} nor {DATABASE}/{PLAN}; name the output folder of agg proposals run"


def _repeated_sidecars(store: Store, plan: Json) -> dict[int, Json] | None:
    """The sidecars as the manifest of a finished database repeats them; None if there is no manifest of its plan."""
    try:
        manifest = store.read_json(MANIFEST, Manifest, limits.PLAN_BYTES)
    except StorageError:
        raise
    except UserError:
        return None
    found = [checked_sidecar("", sidecar, DATABASE_LAYOUT) for sidecar in manifest.get("shards", [])]
    sidecars = {sidecar["shard"]: sidecar for sidecar in found if not isinstance(sidecar, str)}
    usable = len(sidecars) == len(found) and not any(unlike_plan(sidecar, plan) for sidecar in sidecars.values())
    return dict(sorted(sidecars.items())) if usable else None


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

    @property
    def minor(self) -> int:
        """Minor version of its format."""
        return int(self.plan.get("format_minor", 0))

    @cached_property
    def sources(self) -> list[Json]:
        """What describes the runs that have made the rows, by their numbers in the column ``source``."""
        return sources(self.plan)

    def table(self, name: str, columns: Sequence[str] | None = None, shards: Sequence[int] | None = None) -> pa.Table:
        """Read a table of the database, with its rows in the order of the plan.

        Args:
            name: ``proposals``, ``images`` or ``rejects``.
            columns: columns to read; defaults to all, with those that a newer minor version of the format has added.
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
        parts = [self._read(name, path, schema.names if columns is not None else None) for path in paths]
        try:
            return pa.concat_tables(parts) if parts else schema.empty_table()
        except pa.ArrowException as error:
            raise UserError(f"the files in {self.store.url}/{name} have different columns; {REPAIR}") from error

    def _read(self, name: str, path: str, columns: Sequence[str] | None, image_id: str | None = None) -> pa.Table:
        stored = stored_schema(name, self.minor)
        wanted = None if columns is None else [column for column in columns if column in stored.names]
        holding = None if image_id is None else ("image_id", image_id)
        table = read_table(self.store, path, stored, wanted, more=self.minor > FORMAT_MINOR, holding=holding)
        table = table.replace_schema_metadata(None)
        if columns is None or SOURCE.name in columns:
            table = with_source(name, table)
        for wrong in impossible_values(name, table, len(self.sources)):
            raise UserError(f"{self.store.url}/{path} {wrong}; {REPAIR}")
        return table if columns is None else table.select(columns)

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
        """The proposals of one image, as ``rows_of_image``."""
        return self.rows_of_image("proposals", image_id)

    def rows_of_image(self, name: str, image_id: str) -> pa.Table:
        """The rows of one image in a table; only the row groups of its shard that may hold it are read.

        Args:
            name: ``proposals``, ``images`` or ``rejects``.
            image_id: id of the image.

        Raises:
            UserError: the database does not have the image, or not yet, or the file of its shard is damaged.
        """
        shard = self._shard_of.get(image_id)
        if shard is None:
            alike = similar(image_id, self._shard_of)
            hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
            raise UserError(f"{self.store.url} has no image {image_id!r}{hint}")
        sidecar = self.sidecars.get(shard)
        if sidecar is None or image_id not in self.images_of_shard(shard):
            raise UserError(
                f"{self.store.url} plans image {image_id!r}, but has not finished it; run the command that makes the "
                "database again to resume, and without --limit-images"
            )
        table = self._read(name, f"{name}/{shard_name(shard)}.parquet", None, image_id)
        return table.filter(pc.equal(table["image_id"], image_id))

    def images_of_shard(self, shard: int) -> list[str]:
        """Ids of the images of a finished shard; a limited run has not read all that are planned for its last one."""
        images: list[str] = self.plan["shards"][shard][: self.sidecars[shard]["images"]]
        return images

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

    def show(self, image_id: str, data: str | None = None) -> Figure:
        """Draw all masks of an image from fine to coarse; Jupyter displays the figure.

        Args:
            image_id: id of the image.
            data: root folder of the data set, for the photograph; without it, masks are drawn on grey.

        Raises:
            UserError: the database or the root folder does not have the image, or a file is damaged.
        """
        rows = self.of_image(image_id).to_pylist()
        images = self.rows_of_image("images", image_id).to_pylist()
        if not images:
            raise UserError(f"{self.store.url} has no mask of image {image_id!r}, which could not be used")
        (image,) = images
        if any((row["height"], row["width"]) != (image["height"], image["width"]) for row in rows):
            raise self.damaged(image_id, f"has masks of another size than image {image_id}")
        pixels = image_pixels(image, layout_of(self.sources[image["source"]]), data)
        return image_figure(image_id, pixels, rows, [self.crop(row) for row in rows])

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


def with_source(name: str, table: pa.Table) -> pa.Table:
    """A table with the column ``source``, as this version of the format has it.

    In format 1.0 the column is missing, because one run has made all rows, and the units are in other words.

    Args:
        name: name of the table.
        table: any of its columns.
    """
    if SOURCE.name in table.column_names:
        return table
    table = table.append_column(SOURCE, pa.array(np.zeros(table.num_rows, np.int32)))
    return table.cast(pa.schema([FILES[name].field(column) for column in table.column_names]))


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
