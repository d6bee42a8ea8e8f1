"""What ``--dry-run`` prints: the resolved configuration, and what the command would do.

The configuration is TOML that the command takes; all other lines are comments in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import psutil

from agg_pipeline.report.printed import say
from schemas.canonical import Json
from schemas.words import duration, plural, printable

if TYPE_CHECKING:
    # They import Dask.
    from agg_pipeline.execution.dry_run import Outlook
    from agg_pipeline.execution.job import Job
    from agg_pipeline.execution.run_options import RunOptions
    from agg_pipeline.execution.time_estimate import MaskCount, TimeEstimate
    from agg_pipeline.storage.store import Store

NOTHING_WRITTEN = "nothing was written"


def comment(line: str) -> None:
    """Print a line as a comment of TOML."""
    say(f"# {line}")


def print_config(config: Any) -> None:
    """Print a configuration, a dataclass, as TOML that the command takes."""
    say(as_toml(asdict(config)))


def seconds_so_far() -> float:
    """Time since this process began: a run spends it as well before its work."""
    return time.time() - float(psutil.Process().create_time())


def print_run(store: Store, job: Job, options: RunOptions, before: float = 0.0) -> TimeEstimate | None:
    """Print what a run would do, with an estimate of its time.

    Args:
        store: folder of the run's shards.
        job: what the run makes, with the masks that it really does.
        options: who would do the work.
        before: seconds that the run spends before it starts its workers.

    Returns:
        The estimate; None if there is nothing to do.
    """
    from agg_pipeline.execution.dry_run import missing_tasks, outlook
    from agg_pipeline.execution.time_estimate import count_masks, estimate_time

    missing = missing_tasks(store, job, options.overwrite, options.verify)
    masks = count_masks(job.chain, missing)
    print_lines(run_lines(job.plan, outlook(job.tasks, missing), masks))
    estimate = estimate_time(job, missing, masks.masks, options) if missing else None
    if estimate is not None:
        estimate = replace(estimate, start=before + estimate.start)
    comment(f"time: {time_words(estimate)}")
    return estimate


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as comments."""
    for line in lines:
        comment(line)


def run_lines(plan: Json, found: Outlook, masks: MaskCount) -> list[str]:
    """What a run is made of, and what is left of it.

    Args:
        plan: plan of the run.
        found: counts of the run.
        masks: masks in the images that are left.
    """
    dataset, model = plan["dataset"], plan["model"]
    shards = plural(found.missing_shards, "shard")
    to_do = f"{_masks(masks)} in {plural(found.missing_images, 'image')}, {shards}"
    if not found.missing_shards:
        left = "nothing to do: all shards are finished"
    elif found.finished_shards:
        left = f"to resume: {to_do}; finished: {plural(found.finished_images, 'image')}"
    else:
        left = f"to do: {to_do}"
    size = f" at {model['input_size']}" if model["input_size"] else ""
    images = f"{found.images} of {plural(dataset['images'], 'image')}"
    return [
        f"{dataset['name']}, {dataset['split']}: {images}, {plural(found.shards, 'shard')}",
        f"model: {model['architecture']}{size}, sha256 {model['sha256'][:16]}",
        f"configuration hash: {plan['config_hash']}",
        left,
    ]


def _masks(masks: MaskCount) -> str:
    return plural(masks.masks, "mask") if masks.exact else f"about {plural(masks.masks, 'mask')}"


def time_words(estimate: TimeEstimate | None) -> str:
    """An estimate in words. None: there is nothing to do."""
    if estimate is None:
        return "none"
    if not estimate.workers:
        return "not estimated, because the Dask cluster has no worker now"
    start = f"{duration(estimate.start)} to start with {plural(estimate.workers, 'worker')}"
    work = f"{duration(estimate.work)} of work (measured on {plural(estimate.images, 'image')})"
    return f"about {duration(estimate.seconds)}: {start}, {work}; tables and pages at the end come on top"


def as_toml(settings: Mapping[str, Any], table: str = "") -> str:
    """Nested settings as TOML. Keys without a value (None, or an empty list) are left out: they have their defaults.

    Args:
        settings: values by key; a mapping becomes a table.
        table: name of the table that they lie in.
    """
    plain = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in plain.items() if value not in (None, ())]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            name = f"{table}.{key}" if table else key
            lines += ["", f"[{name}]", as_toml(value, name).rstrip("\n")]
    return "\n".join((*lines, ""))


def _toml_value(value: Any) -> str:
    """A value as TOML; a text that is not printable is written with escapes."""
    plain = json.dumps(value, ensure_ascii=False)
    return plain if printable(plain) == plain else json.dumps(value)
