"""What a stage needs of a model: probabilities for a batch of interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.records import Interaction, Prediction


class ClickModel(Protocol):
    """Predicts foreground probabilities (Eq. 1-3) for interactions of different images; a toy of numpy will do."""

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """One prediction for each interaction, in order."""
        ...
