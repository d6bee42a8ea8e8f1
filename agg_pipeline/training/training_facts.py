"""What the page of a training says of its data, its model and its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.models.checkpoints import CheckpointInfo
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.dataset_mixture import DatasetMixture
from agg_pipeline.training.mask_rows import MaskRows
from schemas.canonical import Json, flatten
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import plural


def finetuning_facts(
    databases: Sequence[ProposalDatabase], rows: MaskRows, info: CheckpointInfo, config: FinetuneConfig
) -> Json:
    """Facts of a fine-tuning: ``data`` and ``how`` in words, and ``config`` by key."""
    names = (f"{each.plan['dataset']['name']} ({each.plan['dataset']['split']})" for each in databases)
    masks = f"{plural(len(rows), 'mask')} of {plural(len(rows.images), 'image')}"
    return {
        "data": ", ".join(names),
        "how": f"{masks}; base {info.architecture} ({info.sha256[:12]})",
        "config": flatten(asdict(config)),
    }


def pretraining_facts(mixture: DatasetMixture, network: SimpleClick, base: str, config: PretrainConfig) -> Json:
    """Facts of a pre-training, with the same keys; ``base`` is the sha256 of the first model, "" for none."""
    shares = [weight / sum(mixture.weights) for weight in mixture.weights]
    sets = (f"{each.name} ({each.split}), {share:.0%}" for each, share in zip(mixture.datasets, shares, strict=True))
    images = sum(len(each.entries) for each in mixture.datasets)
    start = f"starting from the model {base[:12]}" if base else "starting from random weights"
    return {
        "data": ", ".join(sets),
        "how": f"{plural(images, 'image')}; {network.arch.name} at {network.input_size}, {start}",
        "config": flatten(asdict(config)),
    }
