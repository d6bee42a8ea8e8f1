"""Writing what was learnt."""

from __future__ import annotations

from pathlib import Path

from agg_pipeline.models.checkpoints import Origin, save_adapter, save_click_model
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.training_folder import ADAPTER, MODEL


def save_finetuned(out: Path, origin: Origin, network: SimpleClick) -> Path:
    """Write a fine-tuned model and return the file: an adapter if it has LoRA, else a model with granularity table.

    Args:
        out: output folder.
        origin: what it was trained on, which is kept in the file.
        network: the model with its adapter.
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
