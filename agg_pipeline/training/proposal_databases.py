"""Opening the proposal databases of fine-tuning, and checking that they are intact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from agg_pipeline.database.reader import ProposalDatabase, open_proposals
from agg_pipeline.execution.shard_files import damage
from agg_pipeline.training.training_datasets import DatasetChoice
from schemas.canonical import Json, content_hash
from schemas.errors import UserError
from schemas.words import plural


def open_databases(paths: Sequence[str], roots: Mapping[str, str]) -> list[ProposalDatabase]:
    """Open proposal databases and check their files.

    Args:
        paths: a path per database: of the database, or of a run's output folder.
        roots: roots of data sets by name; "" for the root without a name.

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
    unused = set(roots) - {""} - {database.plan["dataset"]["name"] for database in databases}
    if unused:
        raise UserError(
            f"--data names {sorted(unused)[0]!r}, but no proposal database is of that data set; leave it out"
        )
    return databases


def dataset_of(database: ProposalDatabase, roots: Mapping[str, str]) -> DatasetChoice:
    """The data set of a database; its root is that of its name, else the root without a name, "" for none."""
    name, split = database.plan["dataset"]["name"], database.plan["dataset"]["split"]
    return name, roots.get(name, roots.get("", "")), split


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
    """UserError if the plan names no data set or a file is damaged."""
    described = database.plan["dataset"]
    if not isinstance(described, dict) or not {"name", "split"} <= set(described):
        raise UserError(f"{database.store.url}/plan.json does not say which data set it is of")
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(damage, database.store), database.sidecars.values())
        damaged = [text for of_shard in found for text in of_shard]
    if damaged:
        advice = "agg proposals validate lists all damage; the run that made the database repairs it"
        raise UserError(f"{database.store.url} is damaged: {damaged[0]}; {advice}")
