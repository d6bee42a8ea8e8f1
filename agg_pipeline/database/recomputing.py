"""Another weight of the scale in the granularity, from the stored peaks and without the model (Eq. 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from agg_pipeline.database.derived import Piece, derived_plan, pieces, source_runs, write_derived
from agg_pipeline.database.history import changed_run
from agg_pipeline.database.reader import ProposalDatabase
from schemas.canonical import Json, Row
from schemas.config import GranularityConfig, ProposalsConfig
from schemas.errors import UserError
from schemas.numbers import granularity_bin
from schemas.resolve import override, validated
from schemas.words import excerpt
from stages.granularity import combine

READ = ("image_id", "instance_id", "kind", "area", "peak_proposal", "peak_object", "source")
"""Columns that the granularities are made of."""
MADE = ("scale", "semantic", "granularity", "bin")
"""Columns that are recomputed."""


def recompute(database: ProposalDatabase, out: str, weight: float, overwrite: bool = False) -> ProposalDatabase:
    """Write a database with granularities of another lambda.

    Args:
        database: the database.
        out: folder of the new one.
        weight: lambda of Eq. 6, in [0, 1]; 0 for the scale alone, 1 for the semantic granularity alone.
        overwrite: whether to replace another database in the folder.

    Raises:
        UserError: another program has made masks, without the peaks.
    """
    runs = [_weighted(run, weight) for run in source_runs(database)]
    configs = [granularity_config(run) for run in runs]

    def made() -> Iterator[Piece]:
        for piece in pieces(database):
            proposals = _recomputed(piece.tables["proposals"], configs)
            yield Piece(piece.images, {**piece.tables, "proposals": proposals})

    plan = derived_plan([database], runs, "recompute", {"lambda": weight})
    return write_derived(out, plan, made(), overwrite=overwrite)


def _weighted(run: Json, weight: float) -> Json:
    granularity = {**run["config"].get("granularity", {}), "weight": weight}
    return changed_run(run, {"config": {**run["config"], "granularity": granularity}})


def granularity_config(run: Json) -> GranularityConfig:
    """How a run has combined scale and semantic granularity, by its description."""
    config: ProposalsConfig = validated(override(ProposalsConfig(), run["config"]))
    return config.granularity


def granularities(row: Row, object_area: int, config: GranularityConfig) -> Row:
    """Scale, semantic, granularity and bin of a mask (Eq. 4-6).

    Args:
        row: the mask with its area and peaks.
        object_area: pixels of its object.
        config: how they are combined.
    """
    values = combine(row["area"] / object_area, row["peak_proposal"], row["peak_object"], config)
    return dict(zip(MADE, (*values, granularity_bin(values[2])), strict=True))


def _recomputed(proposals: pa.Table, configs: Sequence[GranularityConfig]) -> pa.Table:
    rows = proposals.select(READ).to_pylist()
    areas = {(row["image_id"], row["instance_id"]): row["area"] for row in rows if row["kind"] == "object"}
    columns = {name: proposals[name].to_numpy().copy() for name in MADE}
    for place, row in enumerate(rows):
        if row["kind"] == "object":
            continue
        if row["peak_proposal"] is None or row["peak_object"] is None:
            raise UserError(
                f"image {excerpt(row['image_id'])} has masks of another program, which gave no peaks; leave them out "
                'with agg database filter --where "peak_proposal is not null"'
            )
        values = granularities(row, areas[row["image_id"], row["instance_id"]], configs[row["source"]])
        for name, value in values.items():
            columns[name][place] = value
    for name, values in columns.items():
        field = proposals.schema.field(name)
        proposals = proposals.set_column(
            proposals.schema.get_field_index(name), field, pa.array(np.asarray(values), field.type)
        )
    return proposals
