"""The model that a run is asked to use: files of ours, or another one by its name."""

from __future__ import annotations

from typing import Any

from agg_pipeline.models.model_files import ModelFiles, describe_model
from agg_pipeline.models.other_models import NamedModel

ChosenModel = str | NamedModel
"""Path of a click model, or another model."""


def describe_chosen(
    model: ChosenModel, adapter: str, input_size: int | None
) -> tuple[ModelFiles | NamedModel, dict[str, Any]]:
    """Find out what a model is.

    Args:
        model: path of the click model, or another model.
        adapter: path of the adapter of a click model, "" for none.
        input_size: side of a click model's input, in pixels. Defaults to that of the adapter or of the checkpoint.

    Returns:
        What workers make it from, and what a plan says of it.

    Raises:
        UserError: a file cannot be used, or they do not fit together.
    """
    if isinstance(model, NamedModel):
        return model, model.planned
    return describe_model(model, adapter, input_size)
