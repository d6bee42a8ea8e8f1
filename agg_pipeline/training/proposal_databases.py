"""Opening the proposal databases of fine-tuning, and checking that they are intact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from agg_pipeline.database.reader import ProposalDatabase, open_proposals
from agg_pipeline.execution.plan import layout_of
from agg_pipeline.execution.shard_files import damage
from schemas.canonical import Json, content_hash
from schemas.errors import UserError
from schemas.words import excerpt, plural, possible


def open_databases(paths: Sequence[str], roots: Mapping[str, str]) -> list[ProposalDatabase]:
    """Open proposal databases and check their files.

    Args:
        paths: a path per database: of the database, or of a run's output folder.
        roots: roots by the name of the data, or of their layout; "" for the root without a name.

    Returns:
        The databases, in the order of the paths.

    Raises:
        UserError: a database is missing, damaged or given twice, or a root belongs to none of them.
    """
    databases = [open_proposals(path) for path in paths]
    for database in databases:
        _check(database)
    hashes = [content_hash(content(database)) for database in databases]
    if len(set(hashes)) < len(hashes):
        raise UserError("--proposals: the same database is given twice")
    known = {name for database in databases for each in datasets_of(database, {}) for name in (each.name, each.layout)}
    unused = sorted(set(roots) - {""} - known)
    if unused:
        raise UserError(
            f"--data names {excerpt(unused[0])!r}, but no proposal database is of that data set; "
            f"{possible(unused[0], sorted(known))}"
        )
    return databases


@dataclass(frozen=True)
class DatabaseDataset:
    """A data set whose images a database is made from.

    Attributes:
        name: what the data are called.
        layout: name of the data set whose reader finds the images.
        root: its root folder; "" for none.
        split: name of the split.
    """

    name: str
    layout: str
    root: str
    split: str


def datasets_of(database: ProposalDatabase, roots: Mapping[str, str]) -> list[DatabaseDataset]:
    """The data sets of a database.

    Args:
        database: the database.
        roots: roots by the name of the data, or of their layout; "" for the root without a name.
    """
    found = []
    for source in database.sources:
        name, layout, split = source["dataset"]["name"], layout_of(source), source["dataset"]["split"]
        root = next((roots[key] for key in (name, layout, "") if key in roots), "")
        found.append(DatabaseDataset(name, layout, root, split))
    return list(dict.fromkeys(found))


def content(database: ProposalDatabase) -> list[Json]:
    """What identifies a database's content: its configuration and the files of its finished shards."""
    return [{"config": database.plan["config_hash"]}, *(each["files"] for each in database.sidecars.values())]


def database_notes(database: ProposalDatabase) -> list[str]:
    """What the user should know of a database."""
    shards, finished = len(database.plan["shards"]), len(database.sidecars)
    if finished == shards:
        return []
    where = database.store.url
    return [f"{where} is limited or unfinished; training uses the {finished} finished of {plural(shards, 'shard')}"]


def _check(database: ProposalDatabase) -> None:
    """UserError if a file is damaged."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(damage, database.store), database.sidecars.values())
        damaged = [text for of_shard in found for text in of_shard]
    if damaged:
        advice = "agg database validate lists all damage; the run that made the database repairs it"
        raise UserError(f"{database.store.url} is damaged: {damaged[0]}; {advice}")
