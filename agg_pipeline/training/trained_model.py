"""The model of a training: what it starts from, the parameters that fine-tuning adds, and the file of the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.naming import UNKNOWN
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import (
    CheckpointInfo,
    default_checkpoint,
    load_click_model,
    new_click_model,
    save_adapter,
    save_click_model,
)
from agg_pipeline.models.file_metadata import Origin
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter
from agg_pipeline.training.training_folder import ADAPTER, MODEL
from schemas.errors import UserError
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import possible
from stages.draws import generator


def load_base_model(checkpoint: str, size: int) -> tuple[SimpleClick, CheckpointInfo]:
    """Load a click model to train.

    Args:
        checkpoint: its file; "" for the built-in model.
        size: side of the input, in pixels.

    Returns:
        The model, and what its file holds.

    Raises:
        UserError: the file cannot be used, or the model has a granularity table.
    """
    network, info = load_click_model(checkpoint or default_checkpoint(), size)
    if network.adapter is not None:
        raise UserError(
            f"{checkpoint} holds a granularity table; training starts from a click model without one; give its base"
        )
    return network, info


def new_base_model(config: PretrainConfig) -> SimpleClick:
    """A click model with random weights, drawn by the seed; UserError if there is no such architecture or size."""
    if config.architecture not in ARCHITECTURES:
        raise UserError(f"unknown architecture {config.architecture!r}; {possible(config.architecture, ARCHITECTURES)}")
    seed = int(generator(config.training.seed, "weights").integers(2**63))
    try:
        return new_click_model(ARCHITECTURES[config.architecture], config.augment.size, seed)
    except ValueError as error:
        raise UserError(str(error)) from error


def base_model_notes(databases: Sequence[ProposalDatabase], checkpoint: str, info: CheckpointInfo) -> list[str]:
    """A note per database whose proposals were made with another model than the one that is fine-tuned.

    Args:
        databases: the proposal databases.
        checkpoint: file of the model that is fine-tuned; "" for the built-in model.
        info: what that file holds.

    Returns:
        The notes; none if all databases were made with the model itself.
    """
    start = checkpoint or f"the built-in {info.architecture}"
    advice = "" if checkpoint else "; to fine-tune the database's own model, give its file with --checkpoint"
    notes = []
    for database in databases:
        models = {source["model"]["sha256"]: source["model"]["architecture"] for source in database.sources}
        for sha256, name in models.items():
            if sha256 not in (info.sha256, UNKNOWN):
                notes.append(
                    f"{database.store.url} was made with another model, {name} (sha256 {sha256[:12]}): "
                    f"this training starts from {start} (sha256 {info.sha256[:12]}){advice}"
                )
    return notes


def add_adapter(network: SimpleClick, config: FinetuneConfig) -> frozenset[str]:
    """Give a click model the granularity table and LoRA that it is to learn (Section 3.3).

    Args:
        network: changed in place.
        config: which of both (ablations of Table 3); without LoRA all weights are trained.

    Returns:
        Names of the parameters that are trained.
    """
    base = frozenset() if config.lora else parameter_names(network)
    if config.lora or config.granularity:
        rank = config.rank if config.lora else 0
        adapter = Adapter(network.arch.dim, network.arch.depth, rank, config.lora_targets, config.granularity)
        seed = int(generator(config.training.seed, "adapter").integers(2**63))
        adapter.initialise(torch.Generator().manual_seed(seed), config.table_std)
        attach_adapter(network, adapter)
    return base | {name for name in parameter_names(network) if name.startswith("adapter.")}


def parameter_names(network: SimpleClick) -> frozenset[str]:
    """Names of all parameters of a network."""
    return frozenset(name for name, _ in network.named_parameters())


def save_finetuned(out: Path, origin: Origin, network: SimpleClick) -> Path:
    """Write a fine-tuned model: an adapter if it has LoRA, else a model with granularity table.

    Args:
        out: output folder.
        origin: what it was trained on, which is kept in the file.
        network: the model with its adapter.

    Returns:
        The file.
    """
    if network.adapter is not None and network.adapter.rank:
        path = out / ADAPTER
        save_adapter(path, network.adapter, origin)
    else:
        path = out / MODEL
        save_click_model(path, network, half=False, origin=origin)
    return path


def save_pretrained(out: Path, network: SimpleClick) -> Path:
    """Write a pre-trained model in half precision and return the file."""
    path = out / MODEL
    save_click_model(path, network)
    return path
