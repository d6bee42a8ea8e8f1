"""Several databases in one: of different runs, models, data sets and laboratories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from agg_pipeline.database.derived import (
    IMAGES_PER_SHARD,
    Piece,
    chosen_images,
    derived_plan,
    source_runs,
    write_derived,
)
from agg_pipeline.database.identity import recipe_hashes
from agg_pipeline.database.merged_images import Conflicts, MergedImage, Place, merged_images
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.database.recomputing import granularity_config
from agg_pipeline.database.same_image import Duplicates, SourceRun, merged_image, renamed
from agg_pipeline.storage.recent import Recent
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.tables import FILES, SOURCE
from schemas.words import excerpt

OPEN_SHARDS = 8
"""Shards that are kept in memory."""


def merge(
    databases: Sequence[ProposalDatabase],
    out: str,
    duplicates: Duplicates = "drop",
    conflicts: Conflicts = "refuse",
    images_per_shard: int = IMAGES_PER_SHARD,
    overwrite: bool = False,
) -> ProposalDatabase:
    """Put the rows of several databases into a new one.

    An image is the same if its file has the same sha256, an object of it if the masks have an IoU above 0.98. Where the
    sha256 of a file is not known, only rows of the same run are of the same image. Where an image could not be used,
    only rows of the same data are.

    Args:
        databases: the databases; of what they share, the first one decides ids and class.
        out: folder of the new one.
        duplicates: whether to drop masks of an object that repeat one of an earlier database (IoU above 0.95).
        conflicts: whether to refuse images that have one id and other content, or to rename those of later databases.
        images_per_shard: number of images of a shard.
        overwrite: whether to replace another database in the folder.

    Raises:
        UserError: images are in conflict, or a database is damaged.
    """
    sources: list[Json] = []
    numbers: list[list[int]] = []
    for database in databases:
        runs = source_runs(database)
        sources += [run for run in runs if run not in sources]
        numbers.append([sources.index(run) for run in runs])
    images = merged_images(databases, conflicts)
    options = {"duplicates": duplicates, "conflicts": conflicts, "images_per_shard": images_per_shard}
    plan = derived_plan(databases, sources, "merge", options)
    recipes = [each.tobytes() for each in recipe_hashes(sources)]
    made_by = [
        SourceRun(recipe, granularity_config(run), run["dataset"]["licence"])
        for recipe, run in zip(recipes, sources, strict=True)
    ]
    made = _pieces(images, _Shards(databases, numbers), duplicates, made_by)
    return write_derived(out, plan, made, images_per_shard, overwrite)


class _Shards:
    """The shards of the databases, of which some stay in memory.

    Args:
        databases: the databases.
        numbers: for each database, the new numbers of its sources.
    """

    def __init__(self, databases: Sequence[ProposalDatabase], numbers: Sequence[Sequence[int]]) -> None:
        self._databases = databases
        self._numbers = [np.array(each, np.int32) for each in numbers]
        self._schemas = {name: joined_schema(name, databases) for name in FILES}
        self._kept: Recent[tuple[int, int], dict[str, pa.Table]] = Recent(OPEN_SHARDS, lambda _tables: 1)

    def piece(self, places: Sequence[Place], merged: Sequence[str]) -> Piece:
        """Images of one shard, under the ids that they have in the merged database."""
        database, shard = places[0].database, places[0].shard
        tables = self._kept.get((database, shard), lambda: self._read(database, shard))
        whole = Piece(tuple(place.image_id for place in places), tables)
        some = chosen_images(whole, whole.images)
        for place, image_id in zip(places, merged, strict=True):
            if place.image_id != image_id:
                some = renamed(some, place.image_id, image_id)
        return some

    def _read(self, number: int, shard: int) -> dict[str, pa.Table]:
        database = self._databases[number]
        tables = {}
        for name, schema in self._schemas.items():
            table = database.table(name, shards=[shard])
            sources = pa.array(self._numbers[number][table[SOURCE.name].to_numpy()], SOURCE.type)
            table = table.set_column(table.schema.get_field_index(SOURCE.name), SOURCE, sources)
            tables[name] = pa.Table.from_arrays([_column(table, field) for field in schema], schema=schema)
        return tables


def _column(table: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    """A column of a table; nulls if it does not have one."""
    return table[field.name] if field.name in table.column_names else pa.nulls(table.num_rows, field.type)


def joined_schema(name: str, databases: Sequence[ProposalDatabase]) -> pa.Schema:
    """The columns of a table of several databases.

    Those that a newer version of the format has added follow the others, and are null where a database lacks them.

    Raises:
        UserError: a column has different types.
    """
    fields = {field.name: field for field in FILES[name]}
    for database in databases:
        for field in database.table(name, shards=list(database.sidecars)[:1]).schema:
            known = fields.setdefault(field.name, field.with_nullable(True))
            if not known.type.equals(field.type):
                raise UserError(
                    f"column {excerpt(field.name)} of {name} is of type {field.type} in {database.store.url}, and of "
                    f"type {known.type} in another database"
                )
    return pa.schema(fields.values())


def _pieces(
    images: Sequence[MergedImage], shards: _Shards, duplicates: Duplicates, runs: Sequence[SourceRun]
) -> Iterator[Piece]:
    """The images in their order; those that follow each other in one shard are one piece."""

    def where(image: MergedImage) -> object:
        return (image.places[0].database, image.places[0].shard) if len(image.places) == 1 else image

    for _, group in groupby(images, where):
        some = list(group)
        if len(some[0].places) == 1:
            yield shards.piece([image.places[0] for image in some], [image.image_id for image in some])
        else:
            (image,) = some
            found = [shards.piece([place], [image.image_id]) for place in image.places]
            yield merged_image(found, duplicates, runs)
