"""Which images of several databases are the same, and the ids that they have in the merged database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal

from agg_pipeline.database.derived import source_runs
from agg_pipeline.database.reader import ProposalDatabase
from schemas.errors import UserError
from schemas.tables import SOURCE
from schemas.words import excerpt

Conflicts = Literal["refuse", "rename"]
"""What to do with images that have one id and other content."""
SHOWN = 8
"""Digits that are put after the id of an image that is renamed: of its sha256, or of its run if that is not known."""


@dataclass(frozen=True)
class Place:
    """Where the rows of an image lie.

    Attributes:
        database: number of the database among those that are merged.
        shard: number of the shard.
        image_id: id of the image there.
    """

    database: int
    shard: int
    image_id: str


@dataclass(frozen=True, slots=True)
class Content:
    """What says whether two images of one id are the same; equal if they are.

    Attributes:
        sha256: of the file, in hex; "" if it is not known.
        run: the run that has found the image, by its ``id``; "" if the sha256 is known.
    """

    sha256: str
    run: str = ""


@dataclass(frozen=True)
class MergedImage:
    """An image of the merged database.

    Attributes:
        image_id: its id.
        places: where its rows lie, in the order of the databases.
    """

    image_id: str
    places: tuple[Place, ...]


def merged_images(databases: Sequence[ProposalDatabase], conflicts: Conflicts) -> list[MergedImage]:
    """The images of several databases, sorted by id, each with all places of its rows.

    Raises:
        UserError: two images have one id and other content, and ``conflicts`` is "refuse".
    """
    places: dict[str, list[Place]] = {}
    known: dict[str, Content] = {}
    for number, database in enumerate(databases):
        found, finished = _contents(database), list(_finished(database))
        ids = _merged_ids([image_id for _, image_id in finished], found, places.keys(), known)
        taken = {*places, *ids}
        for shard, image_id in finished:
            merged = ids[image_id]
            if merged is None:
                if conflicts == "refuse":
                    other = databases[places[image_id][0].database].store.url
                    raise UserError(_conflict(image_id, database.store.url, other, found[image_id], known[image_id]))
                merged = _new_id(image_id, found[image_id], taken)
                taken.add(merged)
            places.setdefault(merged, []).append(Place(number, shard, image_id))
            if image_id in found:
                known.setdefault(merged, found[image_id])
    return [MergedImage(image_id, tuple(places[image_id])) for image_id in sorted(places)]


def _conflict(image_id: str, of: str, other: str, found: Content, known: Content) -> str:
    """Why an image of a database is not taken for that of the same id in an earlier one."""
    if found.sha256 and known.sha256:
        return (
            f"image {excerpt(image_id)} of {of} has other content than that of {other}; to give it another id, use "
            "--conflicts rename"
        )
    return (
        f"image {excerpt(image_id)} of {of} may be another one than that of {other}, because the sha256 of a file is "
        "not known; import with --data FOLDER, so that it is, or use --conflicts rename to give the image another id"
    )


def _merged_ids(
    own: Sequence[str], found: Mapping[str, Content], taken: Collection[str], known: Mapping[str, Content]
) -> dict[str, str | None]:
    """The id that each image of one more database has in the merged one; None where its own is that of another image.

    Args:
        own: ids of its images.
        found: contents of its images that could be read.
        taken: ids in the merged database so far.
        known: contents of these.
    """
    merged: dict[str, str | None] = {
        image_id: image_id
        for image_id in own
        if image_id in taken and found.get(image_id, known.get(image_id)) == known.get(image_id, found.get(image_id))
    }
    # Two images of one database stay two, even if they show the same.
    used = set(merged)
    by_hash: dict[str, str] = {}
    for image_id, content in known.items():
        by_hash.setdefault(content.sha256, image_id)
    for image_id in own:
        if image_id in merged:
            continue
        sha256 = found[image_id].sha256 if image_id in found else ""
        same = by_hash.get(sha256) if sha256 else None
        if same is not None and same not in used:
            merged[image_id] = same
            used.add(same)
        else:
            merged[image_id] = None if image_id in taken else image_id
    return merged


def _new_id(image_id: str, content: Content, taken: Collection[str]) -> str:
    """Another id for an image, by its content; a number follows if that is taken, too."""
    name = f"{image_id}~{(content.sha256 or content.run)[:SHOWN]}"
    numbered = (f"{name}~{number}" for number in count(2))
    return next(each for each in chain((name,), numbered) if each not in taken)


def _contents(database: ProposalDatabase) -> dict[str, Content]:
    """The content of every image that could be read, by its id."""
    runs = [run["id"] for run in source_runs(database)]
    columns = database.table("images", ["image_id", "sha256", SOURCE.name]).to_pydict()
    return {
        image_id: Content(sha256) if sha256 else Content("", runs[source])
        for image_id, sha256, source in zip(*columns.values(), strict=True)
    }


def _finished(database: ProposalDatabase) -> Iterator[tuple[int, str]]:
    """Shard and id of every image of the finished shards."""
    for index in database.sidecars:
        for image_id in database.images_of_shard(index):
            yield index, image_id
