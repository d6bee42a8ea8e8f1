"""The plan of a run: what decides the content of its folder, and the images of every shard."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Protocol

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.execution.shard_files import PLAN, Layout
from agg_pipeline.storage.store import Store
from schemas.canonical import Json, canonical_json, content_hash, differences
from schemas.config import BatchConfig, PredictorConfig
from schemas.devices import device_kind
from schemas.errors import UserError


class _Config(Protocol):
    @property
    def seed(self) -> int: ...

    @property
    def batch(self) -> BatchConfig: ...

    @property
    def predictor(self) -> PredictorConfig: ...


def make_plan(layout: Layout, dataset: Dataset, model: Json, environment: Json, config: _Config) -> Json:
    """The plan of a run: everything that decides the content of the folder, and the images of every shard.

    model: architecture, input_size, sha256. environment: what else changes a bit (device kind, torch version).
    config: a dataclass.
    """
    configured: Json = asdict(config)  # type: ignore[call-overload]  # a Protocol cannot say that it is a dataclass
    configured["predictor"]["device"] = device_kind(config.predictor.device)
    described = {
        "format_version": layout.version,
        "algorithm_version": layout.algorithm_version,
        "dataset": {
            "name": dataset.name,
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


def described(plan: Json) -> Json:
    """What decides the content, of a plan."""
    return {key: value for key, value in plan.items() if key not in ("shards", "config_hash")}


def refuse_other_plan(store: Store, plan: Json) -> None:
    """UserError with the differences if the folder holds the plan of another run."""
    old = store.read_json(PLAN)
    if old == plan:
        return
    changed = differences(described(old), described(plan)) or ["shards: another order or choice of images"]
    raise UserError(
        f"{store.url} holds another run; choose another output folder, or --overwrite to delete it. Different: "
        + "; ".join(changed)
    )
