"""``agg database log``: which runs and commands have made a database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from schemas.canonical import Json
from schemas.words import printable


def history_lines(sources: Sequence[Json], history: Sequence[Json]) -> Iterator[str]:
    """A line for each run and each command, the oldest first.

    Args:
        sources: the runs that have made the rows of a database, each with the identity of the database that it made.
        history: the commands that have made the database from those, as in its plan.
    """
    for number, run in enumerate(sources):
        yield printable(f"source {number}: {_imported(run) if 'imported' in run else _run(run)}")
    for entry in history:
        options = " ".join(f"{key}={json.dumps(value)}" for key, value in entry["options"].items() if value is not None)
        parents = " ".join(parent[:12] for parent in entry["parents"])
        yield printable(f"{entry['command']} of {parents}: {options}")


def _run(run: Json) -> str:
    dataset, model = run["dataset"], run["model"]
    weight = run["config"].get("granularity", {}).get("weight", "unknown")
    return (
        f"run {run['id'][:12]} on {dataset['name']}, {dataset['split']}, with {model['architecture']} "
        f"({model['sha256'][:12]}), preset {run['config']['preset']}, seed {run['seed']}, lambda {weight}"
    )


def _imported(run: Json) -> str:
    dataset, file = run["dataset"], run["imported"]
    return (
        f"imported from {file['file']} (format {file['format']}, sha256 {file['sha256'][:12]}) with data of "
        f"{dataset['name']}, {dataset['split']}"
    )
