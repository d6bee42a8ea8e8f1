"""``agg pretrain``: a click model that segments whole objects, from images with object masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import load_click_model, new_click_model, save_click_model
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.loop import Training
from agg_pipeline.training.mixture import Mixture, ObjectSamples, weighted
from agg_pipeline.training.run import Prepared, claim, comparable
from agg_pipeline.training.training_folder import MODEL
from agg_pipeline.training.training_options import TrainingOptions
from agg_pipeline.training.training_step import Loss
from agg_pipeline.training.validation_masks import validation_targets
from schemas.canonical import Json, content_hash, flatten
from schemas.errors import UserError
from schemas.training import PretrainConfig
from stages.draws import generator
from stages.finetune import normalised_focal_loss
from stages.pretrain import cross_entropy_and_dice

LOWEST = 0.01
"""Share of the highest learning rate that is left in the end."""


@dataclass(frozen=True)
class Pretraining:
    """AdamW with warm-up and cosine; cross-entropy and Dice, then the normalised focal loss, and iterative clicks."""

    config: PretrainConfig

    def optimizer(self, learning: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """AdamW; biases, norms and positions do not decay."""
        decay = [value for name, value in learning.items() if value.ndim > 1 and not name.endswith("pos_embed")]
        rest = [value for name, value in learning.items() if value.ndim <= 1 or name.endswith("pos_embed")]
        lr = self.config.training.lr
        groups = [
            {"params": decay, "highest": lr, "weight_decay": self.config.weight_decay},
            {"params": rest, "highest": lr, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=lr)

    def share(self, epoch: float) -> float:
        """Growing from a hundredth in the first epochs, then falling to it along half a cosine."""
        warm = self.config.warm_up
        if epoch < warm:
            return LOWEST + (1 - LOWEST) * epoch / warm
        done = (epoch - warm) / max(1e-9, self.config.training.epochs - warm)
        return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * min(1.0, done))) / 2

    def loss(self, epoch: float) -> tuple[Loss, int]:
        """No iterative clicks before ``rounds_epoch``: there is no prediction worth correcting yet."""
        rounds = self.config.training.max_rounds if epoch >= self.config.rounds_epoch else 0
        return normalised_focal_loss if epoch >= self.config.focal_epoch else cross_entropy_and_dice, rounds

    @property
    def max_norm(self) -> float:
        """As configured."""
        return self.config.max_norm


@dataclass(frozen=True)
class Objects:
    """What a pre-training learns from: data sets as (name, root, split), and how often each is drawn from.

    split: "" for the usual one; of a built-in set, which has no root, it stands there. checkpoint: that it starts from;
    "" to start from nothing.
    """

    data: tuple[tuple[str, str, str], ...]
    weights: tuple[float, ...] = ()
    checkpoint: str = ""


def prepare(config: PretrainConfig, objects: Objects, options: TrainingOptions) -> Prepared:
    """Open data sets and model; UserError, one line, for everything that does not fit together."""
    datasets = [_open(*each) for each in objects.data]
    mixture = weighted(datasets, objects.weights)
    network, base = _start(config, objects.checkpoint)
    config = replace(config, architecture=network.arch.name)
    identity = {
        "config": content_hash(comparable(config)),
        "base": base,
        "data": content_hash([[each.name, each.split, each.fingerprint] for each in datasets] + [mixture.weights]),
        "torch": str(torch.__version__),
    }
    claim(options, identity, config)
    samples = ObjectSamples(mixture, config)
    training = Training(
        network,
        frozenset(name for name, _ in network.named_parameters()),
        samples,
        len(samples),
        Pretraining(config),
        config.training,
        identity,
        options,
    )
    notes: list[str] = []
    validation: tuple[EvaluatedMask, ...] = ()
    if options.validation_masks:
        try:
            validation = _validation(objects.data, datasets, config.training.seed, options.validation_masks)
        except UserError as error:
            notes.append(f"no looks at validation masks: {error}")
    return Prepared(
        training, partial(_save, options.out), validation, tuple(notes), _facts(mixture, network, base, config)
    )


def _open(name: str, root: str, split: str) -> Dataset:
    return open_dataset(name, "" if known_dataset(name).built_in else root, _split(name, root, split))


def _split(name: str, root: str, split: str) -> str:
    known = known_dataset(name)
    if known.built_in and root and split:
        raise UserError(f"--data {name}:{root} names a split already; leave --split out, or give it an empty one")
    return split or (root if known.built_in else "") or known.default_split


def _start(config: PretrainConfig, checkpoint: str) -> tuple[SimpleClick, str]:
    """The network to begin with, and the sha256 of the file that it is from, "" for none."""
    if checkpoint:
        network, info = load_click_model(checkpoint, config.augment.size)
        if network.adapter is not None:
            raise UserError(f"{checkpoint} holds a granularity table; pre-training is of click models without one")
        return network, info.sha256
    if config.architecture not in ARCHITECTURES:
        raise UserError(f"unknown architecture {config.architecture!r}; possible: {', '.join(ARCHITECTURES)}")
    seed = int(generator(config.training.seed, "weights").integers(2**63))
    try:
        return new_click_model(ARCHITECTURES[config.architecture], config.augment.size, seed), ""
    except ValueError as error:
        raise UserError(str(error)) from error


def _validation(
    data: Sequence[tuple[str, str, str]], datasets: Sequence[Dataset], seed: int, masks: int
) -> tuple[EvaluatedMask, ...]:
    """Objects of the images of each evaluation split that are not learnt from."""
    learnt: dict[tuple[str, str], set[str]] = {}
    for (name, root, _), dataset in zip(data, datasets, strict=True):
        own = learnt.setdefault((name, "" if known_dataset(name).built_in else root), set())
        own.update(entry.image_id for entry in dataset.entries)
    targets: list[EvaluatedMask] = []
    for (name, root), images in learnt.items():
        held = open_dataset(name, root, known_dataset(name).evaluation_split)
        held = replace(held, entries=tuple(entry for entry in held.entries if entry.image_id not in images))
        if held.entries:
            targets += [each for each in validation_targets(held, masks, seed) if each.level == "object"]
    if not targets:
        raise UserError("all images of the evaluation splits are learnt from")
    return tuple(targets)


def _save(out: Path, network: SimpleClick) -> Path:
    path = out / MODEL
    save_click_model(path, network)
    return path


def _facts(mixture: Mixture, network: SimpleClick, base: str, config: PretrainConfig) -> Json:
    """What the page says of a training."""
    shares = [weight / sum(mixture.weights) for weight in mixture.weights]
    sets = (f"{each.name} ({each.split}), {share:.0%}" for each, share in zip(mixture.datasets, shares, strict=True))
    images = sum(len(each.entries) for each in mixture.datasets)
    start = f"from the model {base[:12]}" if base else "from nothing"
    return {
        "data": ", ".join(sets),
        "how": f"{images} images; {network.arch.name} at {network.input_size}, {start}",
        "config": flatten(asdict(config)),
    }
