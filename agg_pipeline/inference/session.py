"""An image and the interactions with it, click by click as an evaluation makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.figures.mask_figure import DrawnMask, Figure, mask_figure
from agg_pipeline.inference.user_input import Clicks, clicks_in, granularity_in
from agg_pipeline.storage.recent import Recent
from schemas.crop import area, crop_mask
from schemas.errors import UserError
from schemas.records import Click, Interaction
from schemas.words import plural
from stages.click_model import ClickModel, after_prediction

REGIONS_BYTES = 16 << 20
"""Memory for the resized regions that the predictor of a session keeps."""
STATES_BYTES = 32 << 20
"""Memory for the states of interactions that a session keeps: about forty clicks on an image of 500 x 375."""

State = tuple[float | None, tuple[Click, ...]]
"""What a state of an interaction depends on besides the image: the granularity and the clicks so far."""


class Session:
    """Interactions with one image; ``InteractiveModel.open`` makes it.

    A prediction depends on the image, the granularity and the clicks alone. The clicks are made one after another, as
    in an evaluation (protocol, sections 2 and 3): each prediction gets the probability map of the one before as mask
    prompt, and its region of interest. A session keeps the last states of its interactions, so that most calls cost
    one forward or none:

    - One more click costs one forward; clicks taken back, none.
    - Other clicks, or another granularity, replay the clicks from the first one that differs. A granularity belongs to
      the whole interaction, so another one replays all clicks.

    A session may be used from several threads; they take turns.

    Args:
        image: (H, W, 3) uint8 RGB.
        model: predicts for the interactions.
        has_granularity: whether the model has a granularity table.
    """

    def __init__(self, image: NDArray[np.uint8], model: ClickModel, has_granularity: bool) -> None:
        self._image = image
        self._model = model
        self._has_granularity = has_granularity
        self._states: Recent[State, Interaction] = Recent(STATES_BYTES, _size)
        self._lock = Lock()
        self._last: State | None = None

    def predict(self, clicks: Clicks, granularity: float | None = None) -> NDArray[np.float32]:
        """Predict the foreground after some clicks.

        Args:
            clicks: all clicks so far, first to last: (row, col, positive) in pixels, at least one.
            granularity: between 0 (fine) and 1 (coarse); None for no granularity.

        Returns:
            Foreground probability per pixel, (H, W) float32.

        Raises:
            UserError: the clicks or the granularity cannot be used; the session stays as it was.
        """
        (map_,) = self.predict_each(clicks, [granularity])
        return map_

    def predict_each(self, clicks: Clicks, granularities: Sequence[float | None]) -> list[NDArray[np.float32]]:
        """Predict the foreground after some clicks at several granularities, in batches of the model.

        Args:
            clicks: as for ``predict``.
            granularities: each as for ``predict``.

        Returns:
            Foreground probabilities for each granularity, (H, W) float32.

        Raises:
            UserError: the clicks or a granularity cannot be used; the session stays as it was.
        """
        made = clicks_in(clicks, *self._image.shape[:2])
        chosen = [granularity_in(each, self._has_granularity) for each in granularities]
        with self._lock:
            states = [self._latest(each, made) for each in chosen]
            for count in range(1, len(made) + 1):
                behind = [place for place, state in enumerate(states) if len(state.clicks) < count]
                clicked = [replace(states[place], clicks=made[:count]) for place in behind]
                for place, state in zip(behind, self._next(clicked), strict=True):
                    states[place] = state
            if states:
                self._last = states[-1].granularity, made
        return [_map(state) for state in states]

    def show(self, clicks: Clicks | None = None, granularity: float | None = None) -> Figure:
        """Draw the image with a mask and its clicks; Jupyter displays the figure.

        Args:
            clicks: as for ``predict``; None for those of the last prediction.
            granularity: as for ``predict``; without it and without clicks, that of the last prediction.

        Raises:
            UserError: nothing was predicted yet and no clicks are given, or these or the granularity cannot be used.
        """
        if clicks is None:
            if self._last is None:
                raise UserError("there is no prediction to show yet; give clicks, such as [(row, column, True)]")
            last, made = self._last
            granularity = last if granularity is None else granularity
            clicks = [(click.row, click.col, click.positive) for click in made]
        clicks = list(clicks)
        mask = crop_mask(self.predict(clicks, granularity) > 0.5, *self._image.shape[:2])
        title = "no granularity" if granularity is None else f"granularity {granularity:g}"
        text = f"{plural(area(mask), 'pixel')}, {plural(len(clicks), 'click')}"
        return mask_figure(self._image, [DrawnMask(mask, "part", text, clicks)], title)

    def _latest(self, granularity: float | None, clicks: tuple[Click, ...]) -> Interaction:
        """The state after as many of the clicks as possible."""
        for count in range(len(clicks), 0, -1):
            state = self._states.find((granularity, clicks[:count]))
            if state is not None:
                return state
        return Interaction(self._image, (), prompt=None, focus=None, granularity=granularity)

    def _next(self, clicked: Sequence[Interaction]) -> list[Interaction]:
        """The states after predictions for states with a new click."""
        if not clicked:
            return []
        return [
            self._states.get((state.granularity, state.clicks), partial(after_prediction, state, prediction))
            for state, prediction in zip(clicked, self._model.predict(clicked), strict=True)
        ]


def _map(state: Interaction) -> NDArray[np.float32]:
    assert state.prompt is not None
    return state.prompt.full()


def _size(state: Interaction) -> int:
    """Bytes that a state holds besides the image."""
    assert state.prompt is not None and state.focus is not None
    return state.prompt.nbytes + state.focus.nbytes
