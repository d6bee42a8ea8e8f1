"""``load_model``: a granularity-controllable click model for programs and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.checkpoints import default_adapter, default_checkpoint
from agg_pipeline.models.model_files import check_gpu, describe_model, load_model_files
from schemas.config import PredictorConfig
from schemas.crop import Box, Crop
from schemas.errors import UserError
from schemas.records import Click, Interaction


def load_model(
    base: str | Path | None = None, adapter: str | Path | None = None, *, flip: bool = False, device: str = "cpu"
) -> InteractiveModel:
    """Open a click model; UserError, one line, if the files cannot be used.

    base: checkpoint (.pth or .safetensors), None for the built-in one. adapter: GraCo adapter, "" for none; None is the
    built-in one where base is None, else none. flip: average with the mirrored image, as in evaluation. device: cpu,
    cuda or cuda:N.
    """
    check_gpu(device)
    if adapter is None:
        adapter = default_adapter() if base is None else ""
    files, _ = describe_model(str(default_checkpoint() if base is None else base), str(adapter), None)
    return InteractiveModel(Predictor(load_model_files(files), PredictorConfig(flip=flip, device=device)))


def _sign(positive: object) -> bool:
    """True and False, and the numbers that stand for them in an array of clicks."""
    if not isinstance(positive, np.bool_ | Real) or positive not in (0, 1):
        raise ValueError(f"{positive!r} is neither True nor False")
    return bool(positive)


def _probabilities(mask: object, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A copy of a previous mask; UserError if it is none."""
    try:
        values = np.array(mask)
    except ValueError as error:
        raise UserError(f"the previous mask is no array: {error}") from error
    if values.shape != shape:
        raise UserError(f"the previous mask is {values.shape}, the image {shape}")
    if values.dtype.kind not in "bfiu" or not (values.min() >= 0 and values.max() <= 1):
        raise UserError("the previous mask must hold probabilities in [0, 1], or be boolean")
    return values.astype(np.float32)


class InteractiveModel:
    """A click model; what it needs to know of an interaction comes with every call."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def has_granularity(self) -> bool:
        """Whether ``predict`` takes a granularity."""
        adapter = self._predictor.network.adapter
        return adapter is not None and adapter.table is not None

    def predict(
        self,
        image: NDArray[np.uint8],
        clicks: Sequence[tuple[float, float, bool]],
        granularity: float | None = None,
        previous_mask: NDArray[np.float32] | NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Foreground probability of every pixel, (H, W) float32.

        image: (H, W, 3) uint8 RGB. clicks: (row, col, positive) in pixels, at least one. granularity: in [0, 1], fine
        to coarse; None for none (with an adapter this is not its base). previous_mask: (H, W), what the last call
        returned; the model zooms in around it.
        UserError for input that does not fit together.
        """
        # A copy, for what the predictor keeps of an array must stay as it was: callers reuse their buffers.
        pixels = np.array(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise UserError(f"the image must be (H, W, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
        height, width = pixels.shape[:2]
        # The predictor also takes fractions of pixels.
        try:
            made = tuple(Click(float(row), float(col), _sign(sign)) for row, col, sign in clicks)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise UserError(f"clicks are (row, col, positive), two numbers and True or False: {error}") from error
        if not made:
            raise UserError("at least one click is needed")
        for click in made:
            if not (0 <= click.row < height and 0 <= click.col < width):
                raise UserError(f"click {tuple(click)} lies outside of the image of {height}x{width}")
        if granularity is not None:
            if not self.has_granularity:
                raise UserError("the model has no granularity table; load it with an adapter")
            if not isinstance(granularity, Real) or not 0 <= granularity <= 1:
                raise UserError(f"granularity {granularity} is not in [0, 1]")
        prompt = None
        if previous_mask is not None:
            values = _probabilities(previous_mask, (height, width))
            prompt = Crop(height, width, Box(0, 0, height, width), values)
        given = None if granularity is None else float(granularity)
        state = Interaction(pixels, made, prompt=prompt, focus=prompt, granularity=given)
        return self._predictor.predict([state])[0].probability.full()
