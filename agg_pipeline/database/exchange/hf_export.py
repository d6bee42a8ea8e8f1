"""A folder that ``datasets`` of Hugging Face loads, if wanted with the photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agg_pipeline.database.card import dataset_card
from agg_pipeline.database.contents import CARD, CITATION, CROISSANT, DATABASE_LAYOUT, MANIFEST, SAMPLING_FILE
from agg_pipeline.database.derived import known_id
from agg_pipeline.database.exchange.new_files import new_folder
from agg_pipeline.database.exchange.photographs import NONE, Photographs, Roots, photographs
from agg_pipeline.database.manifest import finished, make_manifest, named_sources
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.plan import stamp_of
from agg_pipeline.execution.shard_files import PLAN, shard_name, sidecar_path
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.tables import FILES

IMAGE = pa.field(
    "image",
    pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
    metadata={"unit": "file of the photograph, and its path in the data set", "nullable": "true"},
)
"""How ``datasets`` stores an image."""
WITH_IMAGES = "images"
"""Folder of the table that has the photographs."""
ROWS = 16
"""Rows of a group of the table with photographs."""


def export_hf(database: ProposalDatabase, out: Path, roots: Roots = NONE) -> None:
    """Write a folder with the tables of a database and its card, whose ``configs`` name them.

    Without photographs it is the database again. With them it has neither plan, manifest, sidecars nor croissant.json,
    whose checksums are those of the table without photographs, and its card says so.

    Args:
        database: the database; it must be finished, because it needs a card.
        out: the new folder.
        roots: root folders of the data sets with the photographs, for a column ``image`` in the table ``images``, which
            ``datasets`` decodes; none to leave them out.

    Raises:
        UserError: the folder is there already, the database has no card, or a photograph is damaged.
    """
    photograph = photographs(database, roots)
    if not database.store.exists(CARD):
        raise UserError(f"{database.store.url} has no {CARD}; run the command that made it again to finish it")
    with new_folder(out) as folder:
        _copy(database.store, SAMPLING_FILE, folder / SAMPLING_FILE)
        for path in sorted(database.store.sizes((CITATION,))):
            _copy(database.store, path, folder / path)
        if photograph is not None:
            (folder / CARD).write_text(_card(database), encoding="utf-8")
        else:
            there = database.store.sizes((CARD, PLAN, MANIFEST, CROISSANT))
            for path in sorted(there):
                _copy(database.store, path, folder / path)
            (folder / "shards").mkdir()
        for index in database.sidecars:
            if photograph is None:
                _copy(database.store, sidecar_path(index), folder / sidecar_path(index))
            for name in FILES:
                path = f"{name}/{shard_name(index)}.parquet"
                (folder / name).mkdir(exist_ok=True)
                if name == WITH_IMAGES and photograph is not None:
                    _with_images(database, index, photograph, folder / path)
                else:
                    _copy(database.store, path, folder / path)


def _copy(store: Store, path: str, to: Path) -> None:
    with store.open(path) as source, to.open("xb") as target:
        shutil.copyfileobj(source, target)


def _card(database: ProposalDatabase) -> str:
    """The card of the database with the column ``image``."""
    store, plan, found = database.store, database.plan, database.sidecars
    manifest = finished(store, plan, found) or make_manifest(plan, found)
    identity = known_id(database)
    facts = {"id": identity, "sources": named_sources(plan, identity)}
    return dataset_card(manifest | facts, IMAGE)


def _with_images(database: ProposalDatabase, index: int, photograph: Photographs, path: Path) -> None:
    table = database.table("images", shards=[index])
    schema = table.schema.insert(0, IMAGE)
    features = {"info": {"features": {field.name: _feature(field.type) for field in schema}}}
    stamp = stamp_of(DATABASE_LAYOUT, database.plan).metadata
    schema = schema.with_metadata({**stamp, "huggingface": json.dumps(features)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in table.to_batches(ROWS):
            pictures = [{"bytes": photograph(row), "path": row["path"]} for row in batch.to_pylist()]
            columns = [pa.array(pictures, IMAGE.type), *batch.columns]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """A column as ``datasets`` describes it."""
    return {"_type": "Image"} if kind == IMAGE.type else {"_type": "Value", "dtype": str(kind)}
