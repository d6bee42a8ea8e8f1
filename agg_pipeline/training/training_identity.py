"""What decides the weights of a training: its checkpoints and its output folder are tied to that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from schemas.canonical import Json, content_hash
from schemas.devices import device_kind
from schemas.training import FinetuneConfig, PretrainConfig


def comparable(config: FinetuneConfig | PretrainConfig) -> Json:
    """The part of a configuration that decides the weights.

    That is all but the recipe's name, the number of loaders, and which GPU of several is used.
    """
    training = replace(config.training, loaders=0, device=device_kind(config.training.device))
    return asdict(replace(config, recipe="", training=training))


def training_identity(
    config: FinetuneConfig | PretrainConfig, base: str, data: Mapping[str, str], torch_version: str
) -> Json:
    """Hashes of everything that decides the weights.

    Args:
        config: configuration.
        base: sha256 of the file with the first weights; "" for random weights.
        data: name and hash of the data.
        torch_version: version of torch.
    """
    return {"config": content_hash(comparable(config)), "base": base, **data, "torch": torch_version}
