"""Choosing masks: the rows of proposal databases that a training draws from, and the draws by inverse frequency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.training.training_images import UsedImage
from schemas.errors import UserError
from schemas.numbers import BINS
from schemas.tables import KINDS
from schemas.training import GranularityDefinition, TrainingSource
from schemas.words import excerpt
from stages.sampler import draw_probabilities, row_weights

KINDS_OF: dict[TrainingSource, tuple[str, ...]] = {
    "agg": ("object", "part", "complement"),
    "gt": ("object", "annotated"),
    "gt+agg": KINDS,
    "object": ("object",),
}
"""Kinds of rows that a source draws from."""
_PROPOSED, _ANNOTATED = ("part", "complement"), ("annotated",)
NEEDED: dict[TrainingSource, tuple[tuple[str, ...], ...]] = {
    "agg": (_PROPOSED,),
    "gt": (_ANNOTATED,),
    "gt+agg": (_PROPOSED, _ANNOTATED),
    "object": (("object",),),
}
"""Kinds that a source must have: at least one kind of each group."""
COLUMNS: dict[str, type[np.generic]] = {
    "image": np.int32,
    "bin": np.int8,
    "database": np.int8,
    "shard": np.int32,
    "row": np.int32,
    "instance": np.int64,
    "whole": np.bool_,
}
"""Columns of the rows while they are chosen: those of ``MaskRows``, id of the row's object (``instance``), and whether
the mask is that whole object (``whole``)."""


ROWS = 4096
"""Rows of images that are listed at a time: a row takes far more memory than in its table."""


@dataclass(frozen=True, eq=False)
class MaskRows:
    """The n rows that a training draws from, without their masks: 38 bytes per row.

    Attributes:
        images: the images that have a row, in the order of their numbers.
        image: (n,) int32, number of the row's image.
        bin: (n,) int8, bin of its granularity, 1 to 10.
        database, shard, row: (n,), where it lies: number of the database, shard, row of the shard's table.
        weights: (n,) float64, 1 / share of the row's bin among all rows.
        summed: (n,) float64, cumulative sum of the weights.
        by_image: (n,) int64, the rows' numbers sorted by image.
        first: (images + 1,) int64, where each image starts in ``by_image``.
    """

    images: tuple[UsedImage, ...]
    image: NDArray[np.int32]
    bin: NDArray[np.int8]
    database: NDArray[np.int8]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    weights: NDArray[np.float64]
    summed: NDArray[np.float64]
    by_image: NDArray[np.int64]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    def bins(self) -> list[int]:
        """Number of rows per bin 1 to 10."""
        return [int(count) for count in np.bincount(self.bin, minlength=BINS + 1)[1:]]

    def of_image(self, image: int) -> NDArray[np.int64]:
        """Numbers of an image's rows."""
        return self.by_image[self.first[image] : self.first[image + 1]]

    def draw(self, image: int, rng: np.random.Generator) -> int:
        """Draw a row of an image, by inverse frequency (Section 3.3)."""
        own = self.of_image(image)
        return int(own[rng.choice(len(own), p=draw_probabilities(self.bin[own], self.weights[own]))])

    def draw_any(self, rng: np.random.Generator) -> int:
        """Draw one of all rows, by inverse frequency: every bin that has rows is as likely."""
        return int(np.searchsorted(self.summed, rng.random() * self.summed[-1], side="right"))


def choose_rows(
    databases: Sequence[ProposalDatabase], source: TrainingSource, definition: GranularityDefinition
) -> MaskRows:
    """List the rows of databases that a source draws from, in the order of databases, shards and tables.

    An object that several databases of one data set hold counts once. Images of two data sets are different images,
    even if they show the same.

    Args:
        databases: the databases, whose finished shards are read.
        source: which kinds of rows.
        definition: what the granularity of a mask is.

    Returns:
        The rows; their images are numbered in the order of their first rows.

    Raises:
        UserError: the databases lack a kind of row that the source needs, or one of them is damaged.
    """
    numbers: dict[tuple[str, str], int] = {}
    images: list[UsedImage] = []
    kinds: set[str] = set()
    parts: dict[str, list[NDArray[Any]]] = {name: [np.empty(0, dtype)] for name, dtype in COLUMNS.items()}
    for number, database in enumerate(databases):
        facts = _facts(database)
        for shard in database.sidecars:
            table = database.table("proposals", ["image_id", "instance_id", "kind", "bin", "area"], [shard])
            _check_references(database, table, facts)
            bins = table["bin"].to_numpy() if definition == "both" else _scale_bins(table, definition == "root")
            rows = np.flatnonzero(pc.is_in(table["kind"], pa.array(KINDS_OF[source])))
            table = table.take(rows)
            kinds.update(table["kind"].unique().to_pylist())
            image_ids, of_row = _encoded(table["image_id"])
            for image_id in image_ids:
                used = facts[image_id]
                if (used.dataset, image_id) not in numbers:
                    numbers[used.dataset, image_id] = len(images)
                    images.append(used)
            own = [numbers[facts[image_id].dataset, image_id] for image_id in image_ids]
            found = {
                "image": np.array(own, np.int32)[of_row],
                "bin": bins[rows],
                "database": np.full(len(rows), number, np.int8),
                "shard": np.full(len(rows), shard, np.int32),
                "row": rows,
                "instance": table["instance_id"].to_numpy(),
                "whole": _is_object(table),
            }
            for column, values in found.items():
                parts[column].append(values.astype(COLUMNS[column]))
    _check_kinds(databases, source, kinds)
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    kept = _without_repeats(columns["image"], columns.pop("instance"), columns.pop("whole"))
    return _indexed(images, {name: values[kept] for name, values in columns.items()})


def _facts(database: ProposalDatabase) -> dict[str, UsedImage]:
    """Every image, by its id."""
    names = [source["dataset"]["name"] for source in database.sources]
    batches = database.table("images", ["image_id", "path", "sha256", "source"]).to_batches(ROWS)
    return {
        row["image_id"]: UsedImage(row["path"], row["sha256"], names[row["source"]])
        for batch in batches
        for row in batch.to_pylist()
    }


def _check_references(database: ProposalDatabase, table: pa.Table, images: Collection[str]) -> None:
    """UserError if a row is of an image that the database lacks, or of an object that its shard lacks."""
    image_ids, image = _encoded(table["image_id"])
    for image_id in image_ids:
        if image_id not in images:
            raise database.damaged(image_id, f"has masks of image {excerpt(image_id)}, and no table of images has it")
    keys = _object_keys(image, table["instance_id"].to_numpy())
    lacking = np.flatnonzero(~np.isin(keys, keys[_is_object(table)]))
    if len(lacking):
        image_id, instance = (table[name][int(lacking[0])].as_py() for name in ("image_id", "instance_id"))
        raise database.damaged(
            image_id, f"has masks of object {instance} of image {excerpt(image_id)}, and not the object itself"
        )


def _encoded(texts: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """The texts that occur, in the order of their first places, and the number of every text among them."""
    found = texts.combine_chunks().dictionary_encode()
    return found.dictionary.to_pylist(), found.indices.to_numpy()


def _is_object(table: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(table["kind"], "object"), np.bool_)


def _object_keys(image: NDArray[np.int32], instance: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number per row that rows of the same object share, and no others."""
    instances, number = np.unique(instance, return_inverse=True)
    return image * np.int64(len(instances)) + number


def _scale_bins(table: pa.Table, root: bool) -> NDArray[np.int8]:
    """Bins of the scales of a shard's rows, or of the square roots of these.

    In full precision: float32, as stored, may lie in the bin beside it.
    """
    _, image = _encoded(table["image_id"])
    area, whole = table["area"].to_numpy(), _is_object(table)
    keys = _object_keys(image, table["instance_id"].to_numpy())
    objects, first = np.unique(keys[whole], return_index=True)
    scale = np.minimum(1.0, area / area[whole][first][np.searchsorted(objects, keys)])
    return np.asarray(np.clip(np.rint(10.0 * (np.sqrt(scale) if root else scale)), 1, BINS), np.int8)


def _without_repeats(
    image: NDArray[np.int32], instance: NDArray[np.int64], whole: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether each row is kept: rows of whole objects are, if no earlier row is of the same object.

    Args:
        image, instance: (n,), the row's object.
        whole: (n,), whether the row is the object itself.
    """
    objects = np.flatnonzero(whole)
    _, first = np.unique(_object_keys(image, instance)[objects], return_index=True)
    kept = ~whole
    kept[objects[first]] = True
    return kept


def _check_kinds(databases: Sequence[ProposalDatabase], source: TrainingSource, kinds: set[str]) -> None:
    lacking = [group for group in NEEDED[source] if not kinds & set(group)]
    if lacking:
        held = Counter(kind for database in databases for kind in database.proposals(["kind"])["kind"].to_pylist())
        there = ", ".join(f"{count} {kind}" for kind, count in held.items()) or "nothing"
        wanted = " or ".join(lacking[0])
        raise UserError(
            f"--source {source} needs masks of kind {wanted}, and the database holds {there}; choose another --source"
        )


def _indexed(images: Sequence[UsedImage], columns: dict[str, NDArray[Any]]) -> MaskRows:
    """The rows with their weights, and sorted by image."""
    image, weights = columns["image"], row_weights(columns["bin"])
    by_image = np.argsort(image, kind="stable")
    first = np.asarray(np.searchsorted(image[by_image], np.arange(len(images) + 1)), np.int64)
    return MaskRows(
        tuple(images), **columns, weights=weights, summed=np.cumsum(weights), by_image=by_image, first=first
    )


def empty_bin_notes(rows: MaskRows) -> list[str]:
    """A note on the granularities that no mask has, if there are any."""
    empty = [f"{number / BINS:.1f}" for number, count in enumerate(rows.bins(), start=1) if not count]
    return [f"no mask has granularity {', '.join(empty)}: the model cannot learn it"] if empty else []
