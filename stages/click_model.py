"""What stages need of a model: probabilities for a batch of interactions, and the state they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from schemas.crop import threshold
from schemas.records import Interaction, Prediction

FOREGROUND = 0.5
"""The region of interest follows the pixels above this probability, whatever threshold masks have."""


class ClickModel(Protocol):
    """Predicts foreground probabilities (Eq. 1-3); a toy made of numpy will do."""

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """Predict a batch.

        Args:
            interactions: of any images.

        Returns:
            One prediction per interaction, in order.
        """
        ...


def after_prediction(interaction: Interaction, prediction: Prediction) -> Interaction:
    """The interaction as the next prediction needs it (protocol, section 2).

    Args:
        interaction: with the clicks that the prediction is for.
        prediction: its probability map becomes the mask prompt. The region of interest follows the map's foreground,
            and stays what it was as long as that fits.

    Returns:
        The same interaction, with new ``prompt``, ``focus`` and ``roi``.
    """
    focus = threshold(prediction.probability, FOREGROUND)
    return replace(interaction, prompt=prediction.probability, focus=focus, roi=prediction.roi)
