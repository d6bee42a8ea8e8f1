"""Smaller databases from a larger one: masks by a condition, images by a list or at random, and other shards."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.conditions import Rows, condition
from agg_pipeline.database.derived import (
    Piece,
    chosen_images,
    derived_plan,
    pieces,
    refuse_other,
    source_runs,
    write_derived,
)
from agg_pipeline.database.image_ids import similar
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.database.used_sources import renumbered, sources_of
from agg_pipeline.storage.store import Store
from schemas.canonical import Json, content_hash
from schemas.errors import UserError
from schemas.words import few_of
from stages.draws import drawn_order


def filter_database(
    database: ProposalDatabase,
    out: str,
    where: str | None = None,
    images: Sequence[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    exclude: Sequence[str] = (),
) -> ProposalDatabase:
    """Keep the masks that fulfil a condition, and the objects and parts that contain them.

    Args:
        database: the database.
        out: folder of the new one.
        where: condition in SQL over the columns of ``proposals``; None for all masks.
        images: ids of the images to use; None for all.
        sample: number of images to draw among them; None for all.
        seed: seed of the draw.
        overwrite: whether to replace another database in the folder.
        exclude: ids of masks to leave out, with all masks inside of them.

    Returns:
        The new database. It has only images with a mask that is kept, and lists only runs that its rows are from.

    Raises:
        UserError: the condition cannot be used, no mask fulfils it, or an image or a mask to leave out is unknown.
    """
    return _write(_filter(database, where, images, sample, seed, exclude), out, overwrite)


@dataclass(frozen=True, eq=False)
class _Filter:
    """What a filter keeps.

    Attributes:
        database: the database.
        images: ids of the images that are looked at.
        rows: the masks that are wanted in them; None for all.
        exclude: ids of masks that are left out.
        used: numbers of the sources that these are from, in order.
        plan: plan of what is kept.
    """

    database: ProposalDatabase
    images: Collection[str]
    rows: Rows | None
    exclude: frozenset[str]
    used: Sequence[int]
    plan: Json


def _filter(
    database: ProposalDatabase,
    where: str | None = None,
    images: Sequence[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    exclude: Sequence[str] = (),
) -> _Filter:
    """A filter, as of ``filter_database``; nothing is written yet."""
    chosen = finished_images(database) if images is None else known_images(database, images)
    if sample is not None:
        chosen = [chosen[place] for place in drawn_order(chosen, "", "filter", seed)[:sample]]
    # With the columns that a later minor version has added.
    columns = database.table("proposals", shards=list(database.sidecars)[:1]).slice(0, 0)
    rows = None if where is None else condition(where, columns)
    options = {
        "where": where,
        "images": None if images is None else content_hash(sorted(images)),
        "sample": sample,
        "seed": None if sample is None else seed,
    }
    if exclude:
        options["exclude"] = content_hash(sorted(exclude))
        _check_known(database, exclude)
    wanted, runs, left_out = set(chosen), source_runs(database), frozenset(exclude)
    used = [0] if len(runs) == 1 else sources_of(_kept(database, wanted, rows, left_out), len(runs))
    plan = derived_plan([database], [runs[number] for number in used], "filter", options)
    return _Filter(database, wanted, rows, left_out, used, plan)


def _check_known(database: ProposalDatabase, masks: Sequence[str]) -> None:
    """UserError if a database lacks one of some masks."""
    unknown = set(masks)
    for index in database.sidecars:
        unknown.difference_update(database.table("proposals", ["proposal_id"], [index])["proposal_id"].to_pylist())
    if unknown:
        raise UserError(f"{database.store.url} does not have the masks to leave out {few_of(sorted(unknown))}")


def _write(chosen: _Filter, out: str, overwrite: bool) -> ProposalDatabase:
    """Write what a filter keeps."""
    numbers = {old: new for new, old in enumerate(chosen.used)}
    kept = (renumbered(piece, numbers) for piece in _kept(chosen.database, chosen.images, chosen.rows, chosen.exclude))
    return write_derived(out, chosen.plan, kept, overwrite=overwrite)


def _kept(
    database: ProposalDatabase, images: Collection[str], rows: Rows | None, exclude: frozenset[str]
) -> Iterator[Piece]:
    some = False
    for piece in pieces(database):
        found = chosen_images(piece, images)
        if exclude:
            found = _without(found, exclude)
        if rows is not None:
            found = with_rows(found, rows)
        if found.images:
            some = True
            yield found
    if not some:
        raise UserError(f"no mask of {database.store.url} is selected")


def _without(piece: Piece, exclude: frozenset[str]) -> Piece:
    """The part of a piece without some masks, and without all masks inside of them."""
    proposals = piece.tables["proposals"]
    names, parents = proposals["proposal_id"].to_pylist(), proposals["parent_id"].to_pylist()
    left_out, found_more = set(exclude), True
    while found_more:
        inside = {name for name, parent in zip(names, parents, strict=True) if parent in left_out} - left_out
        left_out |= inside
        found_more = bool(inside)
    kept = proposals.filter(pa.array([name not in left_out for name in names], pa.bool_()))
    found = chosen_images(piece, pc.unique(kept["image_id"]).to_pylist())
    return Piece(found.images, {**found.tables, "proposals": kept})


def with_rows(piece: Piece, rows: Rows) -> Piece:
    """The part of a piece whose masks are wanted, with all masks that contain them."""
    proposals = piece.tables["proposals"]
    wanted = np.asarray(rows(proposals), np.bool_)
    place = {name: number for number, name in enumerate(proposals["proposal_id"].to_pylist())}
    parents = proposals["parent_id"].to_pylist()
    for number in np.flatnonzero(wanted):
        parent = place.get(parents[number] or "")
        while parent is not None and not wanted[parent]:
            wanted[parent] = True
            parent = place.get(parents[parent] or "")
    kept = proposals.filter(pa.array(wanted))
    found = chosen_images(piece, pc.unique(kept["image_id"]).to_pylist())
    return Piece(found.images, {**found.tables, "proposals": kept})


def finished_images(database: ProposalDatabase) -> list[str]:
    """Ids of the images of the finished shards, in the order of the plan."""
    return [image for index in database.sidecars for image in database.images_of_shard(index)]


def known_images(database: ProposalDatabase, images: Sequence[str]) -> list[str]:
    """Some images in the order of the plan; UserError if the database lacks one of them."""
    there = finished_images(database)
    unknown = sorted(set(images).difference(there))
    if unknown:
        alike = similar(unknown[0], set(there))
        hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
        raise UserError(f"{database.store.url} does not have the listed images {few_of(unknown)}{hint}")
    wanted = set(images)
    return [image for image in there if image in wanted]


def split_database(
    database: ProposalDatabase,
    outs: Sequence[str],
    parts: Sequence[Sequence[str]],
    overwrite: bool = False,
) -> list[ProposalDatabase]:
    """Cut a database into several, each with some of its images.

    Args:
        database: the database.
        outs: folders of the new ones.
        parts: ids of the images of each; no image is in two of them.
        overwrite: whether to replace other databases in the folders.

    Raises:
        UserError: an image is unknown, or in two parts, or a part has none, or a folder holds something else. Nothing
            is written then.
    """
    seen: set[str] = set()
    for number, part in enumerate(parts, 1):
        if not known_images(database, part):
            raise UserError(f"part {number} has no image")
        twice = seen.intersection(part)
        if twice:
            raise UserError(f"image {min(twice)} is in two parts")
        seen.update(part)
    chosen = [_filter(database, images=part) for part in parts]
    for out, each in zip(outs, chosen, strict=True):
        refuse_other(Store(out).anchored(), each.plan, overwrite)
    return [_write(each, out, overwrite) for out, each in zip(outs, chosen, strict=True)]


def shares_of_images(database: ProposalDatabase, shares: Sequence[float], seed: int) -> list[list[str]]:
    """Draw parts of the images of a database.

    Args:
        database: the database.
        shares: share of each part; their sum is 1.
        seed: seed of the draw.

    Returns:
        The images of each part.

    Raises:
        UserError: the shares are not positive numbers whose sum is 1, or a part would have no image.
    """
    # Nothing that is compared with nan is true.
    if not (all(share > 0 for share in shares) and abs(sum(shares) - 1) <= 1e-6):
        raise UserError("--shares must be positive numbers whose sum is 1, such as 0.9,0.1")
    images = finished_images(database)
    order = [images[place] for place in drawn_order(images, "", "split", seed)]
    # The sum of the shares need not be exactly 1, and no image may be lost.
    ends = [*(round(end * len(images)) for end in np.cumsum([0.0, *shares[:-1]])), len(images)]
    parts = [sorted(order[first:last]) for first, last in itertools.pairwise(ends)]
    if not all(parts):
        raise UserError(f"--shares: a part of {min(shares):g} of {len(images)} images has no image; give it more")
    return parts


def reshard(database: ProposalDatabase, out: str, images_per_shard: int, overwrite: bool = False) -> ProposalDatabase:
    """Write the same rows into shards of another number of images.

    Args:
        database: the database.
        out: folder of the new one.
        images_per_shard: number of images of a shard.
        overwrite: whether to replace another database in the folder.
    """
    plan = derived_plan([database], source_runs(database), "reshard", {"images_per_shard": images_per_shard})
    return write_derived(out, plan, pieces(database), images_per_shard, overwrite)
