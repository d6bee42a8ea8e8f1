"""Other models than ours as click models for stages: they see whole images, and answer with maps."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.inference.predictor import Predictor, open_predictor
from agg_pipeline.models.backend import choose_device, set_backend_flags
from agg_pipeline.models.model_files import ModelFiles
from agg_pipeline.models.other_models import MapAndRegion, NamedModel, OtherModel, make_model
from schemas.config import PredictorConfig
from schemas.crop import Box, Crop
from schemas.errors import UserError, out_of_memory
from schemas.records import Interaction, Prediction
from schemas.words import excerpt

LOG = logging.getLogger(__name__)


class WholeImagePredictor:
    """A click model for stages around a model that answers with maps of whole images.

    Args:
        model: the model.
        name: of the model, for messages.

    Attributes:
        forward_seconds: time spent so far in the model.
        splits: 0; the model sees to its memory itself.
        parameters: number of its weights.
    """

    def __init__(self, model: OtherModel, name: str) -> None:
        self._model = model
        self._name = excerpt(name)
        self._candidates = model.facts.candidates
        self.parameters = model.facts.parameters
        self.forward_seconds = 0.0
        self.splits = 0

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """Predict the foreground of interactions.

        Args:
            interactions: their granularity is not looked at.

        Returns:
            One prediction per interaction, in order, with all candidates; its region of interest is the model's, or the
            whole image if the model has none.

        Raises:
            UserError: the model answers with something else than maps of the images.
        """
        started = time.perf_counter()
        maps = self._maps(interactions)
        self.forward_seconds += time.perf_counter() - started
        if len(maps) != len(interactions):
            raise UserError(f"model {self._name} gave {len(maps)} maps for {len(interactions)} images")
        return [self._prediction(*pair) for pair in zip(interactions, maps, strict=True)]

    def _maps(self, interactions: Sequence[Interaction]) -> Sequence[NDArray[np.float32] | MapAndRegion]:
        """What the model answers; a mistake in it becomes one line, and its traceback a part of the log."""
        try:
            return self._model.predict(interactions)
        except UserError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            LOG.exception("model %s failed", self._name)
            raise UserError(f"model {self._name} failed: {type(error).__name__}: {excerpt(str(error))}") from error

    def _prediction(self, interaction: Interaction, answer: NDArray[np.float32] | MapAndRegion) -> Prediction:
        height, width = interaction.image.shape[:2]
        whole = Box(0, 0, height, width)
        values, region = answer if isinstance(answer, MapAndRegion) else (answer, whole)
        expected = (height, width) if self._candidates == 1 else (self._candidates, height, width)
        if values.shape != expected or values.dtype != np.float32:
            shape = " x ".join(map(str, values.shape))
            several = "" if self._candidates == 1 else f", {self._candidates} of them"
            raise UserError(
                f"model {self._name} gave a map of {shape} {values.dtype} for an image of {height} x {width}; "
                f"maps must be float32 and have the image's size{several}"
            )
        # NaN compares with nothing.
        if not (values.min() >= 0 and values.max() <= 1):
            raise UserError(f"model {self._name} gave values outside [0, 1]")
        wanted = whole if interaction.wanted is None else interaction.wanted
        kept = values if wanted == whole else np.ascontiguousarray(values[(..., *wanted.slices)])
        first, *others = (Crop(height, width, wanted, each) for each in kept.reshape(-1, *kept.shape[-2:]))
        return Prediction(first, region, tuple(others))


def open_click_model(model: ModelFiles | NamedModel, config: PredictorConfig) -> Predictor | WholeImagePredictor:
    """Open the model of a run in a worker process.

    Args:
        model: files of a click model, or another model.
        config: configuration of the predictor; of another model, only its device.

    Raises:
        UserError: the model or its device cannot be used, or the model is not the one that was described.
    """
    if isinstance(model, ModelFiles):
        return open_predictor(model, config)
    set_backend_flags()
    return WholeImagePredictor(make_model(model, choose_device(config.device).name), model.text)
