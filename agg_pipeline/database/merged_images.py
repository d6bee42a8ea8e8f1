"""Which images of several databases are the same, and the ids that they have in the merged database."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

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
    """What says whether two images of one id are the same.

    Attributes:
        sha256: of the file, in hex; "" if it is not known.
        run: the run that has found the image, by its ``id``.
        data: fingerprint of the data of that run; the run where its plan has none.
        fell_out: whether the image could not be used, so that it has no row of ``images``.
    """

    sha256: str
    run: str
    data: str
    fell_out: bool

    def same(self, other: Content) -> bool:
        """Whether an image of the same id is the same one."""
        if self.fell_out or other.fell_out:
            return self.data == other.data
        return self.sha256 == other.sha256 and (self.sha256 != "" or self.run == other.run)


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
        finished = list(_finished(database))
        found = _contents(database, [image_id for _, image_id in finished])
        ids = _merged_ids(found, known)
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
            if merged not in known or (known[merged].fell_out and not found[image_id].fell_out):
                known[merged] = found[image_id]
    return [MergedImage(image_id, tuple(places[image_id])) for image_id in sorted(places)]


def _conflict(image_id: str, of: str, other: str, found: Content, known: Content) -> str:
    """Why an image of a database is not taken for that of the same id in an earlier one."""
    if found.sha256 and known.sha256:
        return (
            f"image {excerpt(image_id)} of {of} has other content than that of {other}; to give it another id, use "
            "--conflicts rename"
        )
    if found.fell_out or known.fell_out:
        return (
            f"image {excerpt(image_id)} of {of} may be another one than that of {other}, because it could not be used "
            "in one of them, and their data differ; use --conflicts rename to give the image another id"
        )
    return (
        f"image {excerpt(image_id)} of {of} may be another one than that of {other}, because the sha256 of a file is "
        "not known; import with --data FOLDER, so that it is, or use --conflicts rename to give the image another id"
    )


def _merged_ids(found: Mapping[str, Content], known: Mapping[str, Content]) -> dict[str, str | None]:
    """The id that each image of one more database has in the merged one; None where its own is that of another image.

    Two images of one database stay two, even if they show the same.

    Args:
        found: contents of its images.
        known: contents of the images in the merged database so far.
    """
    merged: dict[str, str | None] = {
        image_id: image_id for image_id, content in found.items() if image_id in known and content.same(known[image_id])
    }
    by_hash: dict[str, deque[str]] = defaultdict(deque)
    for image_id, content in known.items():
        if content.sha256 and image_id not in merged:
            by_hash[content.sha256].append(image_id)
    for image_id, content in found.items():
        if image_id in merged:
            continue
        same = by_hash.get(content.sha256)
        renamed = _renamed(image_id, content)
        if same:
            merged[image_id] = same.popleft()
        elif image_id not in known:
            merged[image_id] = image_id
        # An earlier merge has renamed it.
        elif not content.sha256 and renamed in known and renamed not in found and content.same(known[renamed]):
            merged[image_id] = renamed
        else:
            merged[image_id] = None
    return merged


def _renamed(image_id: str, content: Content) -> str:
    """The id of an image whose own is taken."""
    return f"{image_id}~{(content.sha256 or content.run)[:SHOWN]}"


def _new_id(image_id: str, content: Content, taken: Collection[str]) -> str:
    """Another id for an image, by its content; a number follows if that is taken, too."""
    name = _renamed(image_id, content)
    numbered = (f"{name}~{number}" for number in count(2))
    return next(each for each in chain((name,), numbered) if each not in taken)


def _contents(database: ProposalDatabase, images: Sequence[str]) -> dict[str, Content]:
    """The content of images of a database, by their ids."""
    runs = [(run["id"], str(run["dataset"].get("fingerprint") or run["id"])) for run in source_runs(database)]
    columns = database.table("images", ["image_id", "sha256", SOURCE.name]).to_pydict()
    rows = {image_id: (sha256, source) for image_id, sha256, source in zip(*columns.values(), strict=True)}
    rejects = database.table("rejects", ["image_id", SOURCE.name])
    fallen = rejects.filter(pc.invert(pc.is_in(rejects["image_id"], pa.array(rows, pa.string())))).to_pydict()
    dropped = dict(zip(*fallen.values(), strict=True))
    found = {}
    for image_id in images:
        sha256, source = rows.get(image_id, ("", dropped.get(image_id, 0)))
        run, data = runs[source]
        found[image_id] = Content(sha256, run, data, image_id not in rows)
    return found


def _finished(database: ProposalDatabase) -> Iterator[tuple[int, str]]:
    """Shard and id of every image of the finished shards."""
    for index in database.sidecars:
        for image_id in database.images_of_shard(index):
            yield index, image_id
