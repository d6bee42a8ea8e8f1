"""Databases that are made from others: whole images are read, changed, and written shard by shard.

Their plans list the runs that have made their rows (``sources``) and the commands that have made them from those
(``history``). What a plan says decides the content, as for a run: the same command gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.contents import CITATION, DATABASE_LAYOUT, MANIFEST
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import edited_citation, finish, finished
from agg_pipeline.database.proposal_rows import write_proposals
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.plan import described, sources, stamp_of, told
from agg_pipeline.execution.resuming import damaged, delete, old_plan, refuse_foreign
from agg_pipeline.execution.shard_files import PLAN, listing, publish, read_sidecars
from agg_pipeline.storage.lock import owned
from agg_pipeline.storage.store import Store
from schemas.canonical import Json, content_hash, differences
from schemas.errors import UserError
from schemas.tables import FILES, FORMAT_MINOR, FORMAT_VERSION

IMAGES_PER_SHARD = 25
"""Images of a shard of a derived database, unless another number is asked for."""
DRAFT = ".agg-draft"
"""Folder in that of a database, where the database that replaces it is made."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Whole images with all their rows.

    Attributes:
        images: ids of the images, sorted.
        tables: their rows of ``proposals``, ``images`` and ``rejects``, by name of the table.
    """

    images: tuple[str, ...]
    tables: Mapping[str, pa.Table]


def pieces(database: ProposalDatabase) -> Iterator[Piece]:
    """The finished shards of a database."""
    for index in database.sidecars:
        yield Piece(
            tuple(database.images_of_shard(index)), {name: database.table(name, shards=[index]) for name in FILES}
        )


def chosen_images(piece: Piece, images: Iterable[str]) -> Piece:
    """The part of a piece that is of some images."""
    wanted = images if isinstance(images, Set) else frozenset(images)
    ids = pa.array([image for image in piece.images if image in wanted], pa.string())
    tables = {name: table.filter(pc.is_in(table["image_id"], ids)) for name, table in piece.tables.items()}
    return Piece(tuple(image for image in piece.images if image in wanted), tables)


def joined(some: Sequence[Piece]) -> Piece:
    """Several pieces in one."""
    tables = {name: pa.concat_tables([piece.tables[name] for piece in some]) for name in FILES}
    return Piece(tuple(image for piece in some for image in piece.images), tables)


def rechunked(some: Iterable[Piece], size: int) -> Iterator[Piece]:
    """The same images in pieces of another size, the last of which may be smaller."""
    waiting: list[Piece] = []
    for piece in some:
        waiting.append(piece)
        while sum(len(each.images) for each in waiting) >= size:
            whole = joined(waiting)
            yield chosen_images(whole, whole.images[:size]) if len(whole.images) > size else whole
            rest = whole.images[size:]
            waiting = [chosen_images(whole, rest)] if rest else []
    if waiting:
        yield joined(waiting)


def known_id(database: ProposalDatabase) -> str:
    """The identity of a database; it is computed only if no manifest says it."""
    manifest = finished(database.store, database.plan, database.sidecars)
    stated = "" if manifest is None else str(manifest.get("id", ""))
    return stated or database_id(database)


def source_runs(database: ProposalDatabase) -> list[Json]:
    """The runs that have made the rows of a database, each with the identity of the database that it made."""
    if "sources" in database.plan:
        return list(database.sources)
    return [{"id": known_id(database), **described(database.plan)}]


def history_of(databases: Sequence[ProposalDatabase]) -> list[Json]:
    """The commands that have made some databases, in order, without those that an earlier one has as well."""
    entries: list[Json] = []
    for database in databases:
        entries += [entry for entry in database.plan.get("history", []) if entry not in entries]
    return entries


def derived_plan(parents: Sequence[ProposalDatabase], sources: Sequence[Json], command: str, options: Json) -> Json:
    """The plan of a derived database, without the images of its shards.

    Args:
        parents: the databases that it is made from.
        sources: the runs that have made its rows, as of ``source_runs``.
        command: name of the command.
        options: options of the command that decide the result.
    """
    entry = {
        "command": command,
        "options": options,
        "parents": [known_id(parent) for parent in parents],
    }
    facts = {
        "format_version": FORMAT_VERSION,
        "format_minor": max(FORMAT_MINOR, *(parent.minor for parent in parents)),
        "sources": list(sources),
        "history": [*history_of(parents), entry],
    }
    return facts | {"config_hash": content_hash(facts), "shards": []}


def write_derived(
    out: str,
    plan: Json,
    some: Iterable[Piece],
    images_per_shard: int = IMAGES_PER_SHARD,
    overwrite: bool = False,
    advanced: Callable[[int], None] = lambda _images: None,
) -> ProposalDatabase:
    """Write a derived database; one shard at a time is in memory.

    Args:
        out: its folder. If the same command has made the database before, it stays; what it has begun is made again.
        plan: its plan, as of ``derived_plan``.
        some: its images with their rows, sorted by image.
        images_per_shard: number of images of a shard.
        overwrite: whether to replace another database in the folder. It stays until the new one is finished.
        advanced: called with the number of images that are written.

    Raises:
        UserError: the folder holds something else, another run writes into it, or there is no image.
    """
    store = Store(out).anchored()
    with owned(store) as ownership:
        there = None if overwrite else _made_before(store, plan)
        if there is not None:
            return there
        old = refuse_other(store, plan, overwrite)
        draft = store.below(DRAFT)
        place = draft if overwrite and old else store
        # What a killed command left.
        _delete(draft)
        if old and place == store:
            _delete(store)
        try:
            made = _written(place, ownership.check, plan, rechunked(some, images_per_shard), advanced)
            if place == draft:
                place = store
                _replace(store, made, ownership.check)
            return ProposalDatabase(store, made.plan, made.sidecars)
        except BaseException:
            # Half a database is of no use: the same command starts again.
            with suppress(UserError):
                ownership.check()
                _delete(place)
                _delete(draft)
            raise


def _written(
    store: Store, check: Callable[[], None], plan: Json, some: Iterable[Piece], advanced: Callable[[int], None]
) -> ProposalDatabase:
    """Write the shards of a database, and finish it.

    Args:
        store: the folder to write to.
        check: called before each change that others see; raises UserError if the folder is another run's by now.
        plan, some, advanced: as for ``write_derived``.
    """
    stamp = stamp_of(DATABASE_LAYOUT, plan)
    store.write_json(PLAN, plan)
    found: dict[int, Json] = {}
    shards: list[list[str]] = []
    for index, piece in enumerate(some):
        sidecar = write_proposals(store, index, len(piece.images), stamp, piece.tables)
        check()
        publish(store, sidecar)
        found[index] = sidecar
        shards.append(list(piece.images))
        advanced(sum(map(len, shards)))
    plan = {**plan, "shards": shards}
    check()
    store.write_json(PLAN, plan)
    finish(store, plan, found, check)
    return ProposalDatabase(store, plan, found)


def _made_before(store: Store, plan: Json) -> ProposalDatabase | None:
    """The database in a folder, if the same command has made it from the same parents, and it is whole."""
    before = old_plan(store, DATABASE_LAYOUT)
    if before is None or before["config_hash"] != plan["config_hash"]:
        return None
    sizes = listing(store, DATABASE_LAYOUT)
    found, broken = read_sidecars(store, DATABASE_LAYOUT, sizes)
    if broken or damaged(store, found, sizes, before, verify=False) or finished(store, before, found) is None:
        return None
    return ProposalDatabase(store, before, found)


def refuse_other(store: Store, plan: Json, overwrite: bool) -> bool:
    """Whether a folder holds a database to replace; UserError if it may not be replaced, or something else is there."""
    refuse_foreign(store, DATABASE_LAYOUT, listing(store, DATABASE_LAYOUT))
    before = old_plan(store, DATABASE_LAYOUT)
    if before is not None and not overwrite and before["config_hash"] != plan["config_hash"]:
        raise UserError(
            f"{store.url} holds a database; choose another output folder, or use --overwrite to delete it. Different: "
            f"{_changes(before, plan)}"
        )
    return before is not None


def _changes(before: Json, plan: Json) -> str:
    """In what a database and one that is to take its place differ."""
    old, new = sources(before), sources(plan)
    changed = differences(old[0], new[0]) if len(old) == len(new) == 1 else []
    return told(changed) if changed else "the commands or the databases that it was made with"


def _replace(store: Store, made: ProposalDatabase, check: Callable[[], None]) -> None:
    """Replace a database by its finished draft, whose files are moved in the order in which a run writes them."""

    def order(path: str) -> tuple[bool, ...]:
        return path != PLAN, path == MANIFEST, path in DATABASE_LAYOUT.summaries, path.startswith("shards/")

    check()
    # Names that somebody has written into a file of the same content stay.
    draft, manifest = made.store, finished(made.store, made.plan, made.sidecars)
    names = None if manifest is None else edited_citation(store, manifest)
    if names is not None:
        draft.write(CITATION, names)
    _delete(store)
    for path in sorted(listing(draft, DATABASE_LAYOUT), key=order):
        check()
        store.move(f"{DRAFT}/{path}", path)
    _delete(draft)


def _delete(store: Store) -> None:
    """Delete a database, and on a disk its folders as far as nothing else lies in them."""
    delete(store, DATABASE_LAYOUT, listing(store, DATABASE_LAYOUT))
    if store.is_local():
        for folder in reversed(DATABASE_LAYOUT.places):
            with suppress(OSError):
                Path(store.url, folder).rmdir()
