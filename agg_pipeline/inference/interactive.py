"""``load_model``: a granularity-controllable click model for programs and notebooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.inference.predictor import Predictor, ready
from agg_pipeline.inference.session import REGIONS_BYTES, Session
from agg_pipeline.inference.user_input import Clicks, clicks_in, granularity_in, probabilities, rgb_image
from agg_pipeline.models.backend import choose_device, set_backend_flags
from agg_pipeline.models.checkpoints import default_adapter, default_checkpoint
from agg_pipeline.models.model_files import open_model
from agg_pipeline.models.simpleclick import SimpleClick
from schemas.config import PredictorConfig
from schemas.crop import Box, Crop
from schemas.records import Interaction


def load_model(
    base: str | Path | None = None, adapter: str | Path | None = None, *, flip: bool = False, device: str = "auto"
) -> InteractiveModel:
    """Load a click model.

    Sets torch's flags for exact arithmetic in this process (``set_backend_flags``).

    Args:
        base: checkpoint, ``.pth`` or ``.safetensors``; ``~`` is the home folder. Defaults to the built-in model.
        adapter: GraCo adapter, "" for none. Defaults to the built-in adapter for the built-in model, else to none.
        flip: average each prediction with that of the mirrored image, as in an evaluation.
        device: ``auto`` (a GPU if there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The model.

    Raises:
        UserError: a file cannot be used, the files do not fit together, or the device is not there.
    """
    chosen = choose_device(device)
    set_backend_flags()
    if adapter is None:
        adapter = default_adapter() if base is None else ""
    network, _, _ = open_model(default_checkpoint() if base is None else base, adapter, None)
    return InteractiveModel(ready(network, chosen.name), PredictorConfig(flip=flip))


class InteractiveModel:
    """A click model; ``load_model`` makes it. It may be used from several threads, and keeps nothing of a call."""

    def __init__(self, network: SimpleClick, config: PredictorConfig) -> None:
        self._network = network
        self._config = config

    @property
    def has_granularity(self) -> bool:
        """Whether predictions can have a granularity."""
        return self._network.has_granularity

    def open(self, image: NDArray[np.uint8]) -> Session:
        """Begin to work on one image, click by click.

        Args:
            image: (H, W, 3) uint8 RGB. The session copies it.

        Returns:
            A session, which predicts as an evaluation does.

        Raises:
            UserError: the image has another shape or type.
        """
        pixels = rgb_image(image).copy()
        return Session(pixels, Predictor(self._network, self._config, REGIONS_BYTES), self.has_granularity)

    def predict(
        self,
        image: NDArray[np.uint8],
        clicks: Clicks,
        granularity: float | None = None,
        previous_mask: NDArray[np.float32] | NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Predict the foreground; whatever the prediction depends on comes with the call.

        Args:
            image: (H, W, 3) uint8 RGB.
            clicks: (row, col, positive) in pixels, at least one.
            granularity: between 0 (fine) and 1 (coarse); None for no granularity, which is not the base model if there
                is an adapter.
            previous_mask: (H, W), probabilities in [0, 1] or boolean, as the last call returned it. It is the mask
                prompt, and the model zooms in around it. Unlike a session, a call does not know the last region of
                interest.

        Returns:
            Foreground probability per pixel, (H, W) float32.

        Raises:
            UserError: the arguments do not fit together.
        """
        pixels = rgb_image(image)
        height, width = pixels.shape[:2]
        made = clicks_in(clicks, height, width)
        chosen = granularity_in(granularity, self.has_granularity)
        prompt = None
        if previous_mask is not None:
            prompt = Crop(height, width, Box(0, 0, height, width), probabilities(previous_mask, height, width))
        state = Interaction(pixels, made, prompt=prompt, focus=prompt, granularity=chosen)
        # A predictor of its own: nothing is shared with other calls, and nothing is kept.
        (prediction,) = Predictor(self._network, self._config).predict([state])
        return prediction.probability.full()
