"""What ``--dry-run`` prints: the resolved configuration, and what the run would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from schemas.canonical import Json

if TYPE_CHECKING:
    # It imports Dask.
    from agg_pipeline.execution.dry_run import Outlook
    from agg_pipeline.execution.job import Job, RunOptions
    from agg_pipeline.storage.store import Store


def print_dry_run(store: Store, job: Job, config: Any, options: RunOptions) -> None:
    """Print what a run would do, with an estimate of its time.

    Args:
        store: folder of the run's shards.
        job: what the run makes.
        config: its configuration, a dataclass.
        options: who would do the work.
    """
    from agg_pipeline.execution.dry_run import estimated_seconds, outlook
    from schemas.words import duration

    found = outlook(store, job, options.overwrite)
    left = found.missing_images
    time = f"about {duration(estimated_seconds(job, left, options.workers))}" if left else "none"
    click.echo(dry_run_text(config, job.plan, found, config.batch.batch_objects, time))


def dry_run_text(config: Any, plan: Json, found: Outlook, batch_objects: int, time: str) -> str:
    """The configuration as TOML that ``--config`` takes, and below it, as comments, what the run would do.

    Args:
        config: configuration of the run, a dataclass.
        plan: plan of the run.
        found: counts of the run.
        batch_objects: objects in a batch of the model.
        time: estimated time of the run, in words.
    """
    dataset, model = plan["dataset"], plan["model"]
    if not found.missing_shards:
        left = "nothing to do: all shards are finished"
    elif found.finished_shards:
        left = (
            f"to resume: {found.missing_images} images in {found.missing_shards} shards; "
            f"{found.finished_images} images in {found.finished_shards} shards are finished"
        )
    else:
        left = f"to do: {found.missing_images} images in {found.missing_shards} shards"
    lines = (
        f"{dataset['name']}, {dataset['split']}: {found.images} of {dataset['images']} images, {found.shards} shards",
        f"model: {model['architecture']} at {model['input_size']}, sha256 {model['sha256'][:16]}",
        f"configuration hash: {plan['config_hash']}",
        left,
        f"time: {time}",
        f"batches: at most {batch_objects} objects each; their number is known once the masks are read",
        "nothing was written",
    )
    return "\n".join((as_toml(asdict(config)), *(f"# {line}" for line in lines)))


def as_toml(settings: Mapping[str, Any], table: str = "") -> str:
    """Nested settings as TOML. Keys without a value (None, or an empty list) are left out: they have their defaults.

    Args:
        settings: values by key; a mapping becomes a table.
        table: name of the table that they lie in.
    """
    plain = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items() if value not in (None, ())
    ]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            name = f"{table}.{key}" if table else key
            lines += ["", f"[{name}]", as_toml(value, name).rstrip("\n")]
    return "\n".join((*lines, ""))
