"""The plan of a run: what decides the content of its folder, and the images of every shard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.execution.shard_files import PLAN, Layout, Stamp
from schemas.canonical import Json, canonical_json, content_hash, differences
from schemas.config import BatchConfig, PredictorConfig
from schemas.devices import CPU, device_kind
from schemas.errors import UserError

NAMED = 5
"""Differences that a message names."""
ORDER = (
    *("format_version", "algorithm_version", "dataset.name", "dataset.split", "dataset.images", "dataset.selection"),
    *("model.architecture", "model.input_size", "model", "config", "environment"),
)
"""Beginnings of the keys of a plan, by how much they tell a user; all others follow."""
HASHES = ("fingerprint", "sha256")
"""Ends of the keys whose values are hashes: they tell a user least, and go last in a message."""


class _Config(Protocol):
    @property
    def seed(self) -> int: ...

    @property
    def batch(self) -> BatchConfig: ...

    @property
    def predictor(self) -> PredictorConfig: ...


def make_plan(layout: Layout, dataset: Dataset, model: Json, environment: Json, config: _Config) -> Json:
    """The plan of a run: everything that decides the content of the folder, and the images of every shard.

    Args:
        layout: layout of the folder.
        dataset: the data set.
        model: architecture, input size and sha256 of the model.
        environment: kind of device and torch version.
        config: configuration of the run, a dataclass.

    Returns:
        The plan with its hash, as it is read back from ``plan.json``.
    """
    configured: Json = asdict(config)  # type: ignore[call-overload]  # a Protocol cannot say that it is a dataclass
    configured["predictor"]["device"] = device_kind(config.predictor.device)
    described = {
        "format_version": layout.version,
        "format_minor": layout.minor,
        "algorithm_version": layout.algorithm_version,
        "dataset": {
            "name": dataset.called or dataset.name,
            "layout": dataset.name,
            "split": dataset.split,
            "fingerprint": dataset.fingerprint,
            "images": len(dataset.entries),
            "selection": dict(dataset.selection),
            "licence": dataset.about.licence,
            "citation": dataset.about.citation,
            "homepage": dataset.about.homepage,
        },
        "model": model,
        "environment": environment,
        "seed": config.seed,
        "config": configured,
    }
    # As it is read again: without tuples.
    plan: Json = json.loads(canonical_json(described))
    ids, size = [entry.image_id for entry in dataset.entries], config.batch.images_per_shard
    shards = [ids[start : start + size] for start in range(0, len(ids), size)]
    return plan | {"config_hash": content_hash(plan), "shards": shards}


def is_plan(content: Any) -> bool:
    """Whether the content of a ``plan.json`` is a plan of this program, of whatever version."""
    return isinstance(content, dict) and {"format_version", "config_hash", "shards"} <= content.keys()


def described(plan: Json) -> Json:
    """What decides the content, of a plan."""
    return {key: value for key, value in plan.items() if key not in ("shards", "config_hash")}


def sources(plan: Json) -> list[Json]:
    """What describes each run that has made rows of a database, in the order of their numbers in column ``source``.

    A run's own plan describes that run alone. The plan of a database that was made from others lists their runs.
    """
    listed: list[Json] | None = plan.get("sources")
    return [described(plan)] if listed is None else listed


def layout_of(source: Json) -> str:
    """Name of the layout in which a run has found its data; plans of format 1.0 have only the name of the data."""
    dataset: Json = source["dataset"]
    return str(dataset.get("layout") or dataset["name"])


def model_in_words(model: Json) -> str:
    """A plan's model in a few words: a click model with its input size, or another model's name."""
    if "name" in model:
        return str(model["architecture"])
    adapted = " with adapter" if model.get("adapter") else ""
    return f"{model['architecture']} at {model['input_size']}{adapted}"


def stamp_of(layout: Layout, plan: Json) -> Stamp:
    """What every file of a plan's folder says of it; of several data sets, models and licences, each once."""
    of_runs = sources(plan)
    datasets = [f"{run['dataset']['name']}, split {run['dataset']['split']}" for run in of_runs]
    models = [f"{run['model']['architecture']}, sha256 {run['model']['sha256']}" for run in of_runs]
    facts = {
        "content": [layout.what],
        "format_version": [f"{layout.version}.{plan.get('format_minor', 0)}"],
        "config_hash": [plan["config_hash"]],
        "dataset": datasets,
        "model": models,
        "licence": [run["dataset"]["licence"] for run in of_runs],
    }
    return Stamp(plan["config_hash"], {f"agg.{key}": "; ".join(dict.fromkeys(texts)) for key, texts in facts.items()})


def refuse_other_plan(where: str, old: Json | None, plan: Json) -> None:
    """Refuse a folder whose shards were made under another plan.

    Args:
        where: name of the folder, for the message.
        old: the plan in the folder, None if it is missing or damaged.
        plan: the plan of this run.

    Raises:
        UserError: the plans differ; the message names the most important differences.
    """
    if old is None:
        raise UserError(
            f"{where} holds shards, but no {PLAN} that can be read; "
            "choose another output folder, or use --overwrite to delete them"
        )
    if old != plan:
        changed = differences(described(old), described(plan))
        raise UserError(
            f"{where} holds another run; choose another output folder, or use --overwrite to delete it. Different: "
            + told(changed)
            + _same_device(changed)
        )


def _same_device(changed: Sequence[str]) -> str:
    """How to go on with a run that differs in the kind of its device, which --device auto has chosen, and no more."""
    for line in changed:
        key, _, kinds = line.partition(": ")
        if key == "config.predictor.device":
            others = [other for other in changed if not other.startswith((key, "environment.device:"))]
            kind = kinds.partition(" -> ")[0].strip('"')
            where = "" if kind == CPU else " on a machine with a GPU"
            return "" if others else f"; to go on with that run, use --device {kind}{where}"
    return ""


def told(changed: Sequence[str]) -> str:
    """The most important of some differences of two plans, in one line."""
    lines = sorted(changed, key=_rank)
    if any(line.startswith("config.seed:") for line in lines):
        # The configuration holds the seed as well.
        lines = [line for line in lines if not line.startswith("seed:")]
    if not lines:
        return "shards: another order or choice of images"
    more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "; ".join([*lines[:NAMED], *more])


def _rank(line: str) -> int:
    """Place of a difference in a message."""
    key = line.partition(":")[0]
    if key.endswith(HASHES):
        return len(ORDER) + 1
    return next((place for place, start in enumerate(ORDER) if key.startswith(start)), len(ORDER))
