"""The options that name a model: a click model's file and its adapter, or another model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agg_pipeline.cli.option_groups import given, options_of
from agg_pipeline.cli.places import FILE
from schemas.errors import UserError
from schemas.words import excerpt

if TYPE_CHECKING:
    from agg_pipeline.models.chosen_model import ChosenModel

OF_CHECKPOINTS = ("input-size", "flip", "dtype", "bins")
"""Options of the predictor that other models do not have."""


@dataclass(frozen=True)
class Model:
    """A click model and its adapter, or another model."""

    checkpoint: str | None = given(
        "--checkpoint",
        type=FILE,
        show_default="the built-in model",
        help="File of the click model (.pth or .safetensors).",
    )
    adapter: str = given(
        "--adapter",
        type=FILE,
        default="",
        show_default="none",
        help="File of a GraCo adapter for the checkpoint, which makes granularity an input. built-in: the adapter of "
        "the built-in model.",
    )
    named: str | None = given(
        "--model",
        metavar="NAME[:ARGUMENTS]",
        show_default="none; --checkpoint is used",
        help="Another model in the place of --checkpoint, such as random-walker; agg model list names them.",
    )

    def chosen(self, settings: Mapping[str, Any]) -> tuple[ChosenModel, str]:
        """The model, and the path of the adapter, "" for none.

        Args:
            settings: the options of the configuration that were given.

        Raises:
            UserError: options exclude each other, or there is no such model.
        """
        if self.named is None:
            return model_file(self.checkpoint), adapter_file(self.adapter)
        if self.adapter:
            raise UserError(f"--model {excerpt(self.named)} has no granularity; leave --adapter out")
        return chosen_model(self.checkpoint, self.named, settings), ""


CHECKPOINT = options_of(Model, "checkpoint")[0]
NAMED = options_of(Model, "named")[0]


def adapter_file(adapter: str) -> str:
    """The file of the adapter that was given, or of the built-in one; "" for no adapter."""
    from agg_pipeline.models.checkpoints import default_adapter

    return str(default_adapter()) if adapter == "built-in" else adapter


def chosen_model(checkpoint: str | None, named: str | None, settings: Mapping[str, Any]) -> ChosenModel:
    """The model that options name: the path of a click model, or another model.

    Args:
        checkpoint: of --checkpoint.
        named: of --model.
        settings: the options of the configuration that were given.

    Raises:
        UserError: options exclude each other, or there is no such model.
    """
    if named is None:
        return model_file(checkpoint)
    from agg_pipeline.models.other_models import named_model

    foreign = ["checkpoint"] if checkpoint else [name for name in OF_CHECKPOINTS if name in settings]
    if foreign:
        raise UserError(f"--model {excerpt(named)} cannot be combined with --{foreign[0]}; leave it out")
    return named_model(named)


def model_file(checkpoint: str | None) -> str:
    """The file of the click model that was given, or of the built-in one."""
    from agg_pipeline.models.checkpoints import default_checkpoint

    return checkpoint or str(default_checkpoint())
