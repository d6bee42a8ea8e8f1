"""Which runs and commands have made a database, as ``agg database log`` prints them, and what was changed of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from schemas.canonical import Json, flatten
from schemas.words import excerpt, printable

AS_MADE = "as_made"
"""Key of a run: values of its data set and configuration that were others when it made its rows, by dotted key."""


def changed_run(run: Json, parts: Json) -> Json:
    """A run with another description of its data set, or another configuration; what it had stays in ``as_made``.

    Args:
        run: the run.
        parts: its new ``dataset`` or ``config``, by key.
    """
    new = {**run, **parts}
    before, now = (flatten({key: each[key] for key in ("config", "dataset")}) for each in (run, new))
    before |= run.get(AS_MADE, {})
    made = {key: before.get(key) for key in sorted(before | now) if before.get(key) != now.get(key)}
    return {key: value for key, value in new.items() if key != AS_MADE} | ({AS_MADE: made} if made else {})


def history_lines(sources: Sequence[Json], history: Sequence[Json]) -> Iterator[str]:
    """A line for each run and each command, the oldest first.

    Args:
        sources: the runs that have made the rows of a database, each with the identity of the database that it made.
        history: the commands that have made the database from those, as in its plan.
    """
    for number, run in enumerate(sources):
        yield printable(f"source {number}: {_imported(run) if 'imported' in run else _run(run)}{_changed(run)}")
    for entry in history:
        options = " ".join(f"{key}={json.dumps(value)}" for key, value in entry["options"].items() if value is not None)
        parents = " ".join(parent[:12] for parent in entry["parents"])
        yield printable(f"{entry['command']} of {parents}: {options}")


def _changed(run: Json) -> str:
    """What was changed of a run since it made its rows; "" for nothing."""
    made = [
        f"{key} was {excerpt(json.dumps(value, ensure_ascii=False))}" for key, value in run.get(AS_MADE, {}).items()
    ]
    return f"; changed since: {', '.join(made)}" if made else ""


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
