"""The mask of an object of which only a box is known: what the click model predicts in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from schemas.crop import Box, MaskCrop, crop_mask
from schemas.records import Click, Interaction, Pixels
from stages.click_model import ClickModel, after_prediction
from stages.morphology import cut
from stages.next_click import next_click

MOST_NEGATIVES = 5
"""Most negative clicks outside the box."""


@dataclass(frozen=True, eq=False)
class BoxedObject:
    """A predicted object.

    Attributes:
        box: the box around it, as it was given.
        clicks: the clicks that made the mask: a positive one, then negative ones outside the box.
        mask: the predicted mask, cut to the box; it may be empty.
    """

    box: Box
    clicks: tuple[Click, ...]
    mask: MaskCrop

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said of it, a line each."""
        return ("The mask of the object is a prediction of the model, because only a box was given.",)


def object_in_box(pixels: Pixels, box: Box, model: ClickModel) -> BoxedObject:
    """Predict the object in a box.

    The first click is positive, in the centre of the box, on which the model zooms in. As long as the prediction leaves
    the box, a negative click follows in the centre of what lies outside, as in an evaluation. Inside, nothing is known
    of the object's border, so no click is made there.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: a box inside the image.
        model: the click model.
    """
    height, width = pixels.shape[:2]
    boxed = crop_mask(np.ones((box.height, box.width), np.bool_), height, width, box.top, box.left)
    centre = Click(box.top + box.height // 2, box.left + box.width // 2, True)
    # Zooming in helps: on 22 objects of generated scenes and SBD, the mean IoU with the object is 0.77, else 0.73.
    # With the box as mask prompt, too, it is lower.
    state = Interaction(pixels, (centre,), prompt=None, focus=boxed)
    nowhere = np.zeros((height, width), np.bool_)
    while True:
        state, found = _predicted(state, model)
        outside = found.full()
        outside[box.slices] = False
        if len(state.clicks) > MOST_NEGATIVES or not outside.any():
            return BoxedObject(box, state.clicks, cut(found, boxed))
        # Nothing is wanted outside the box: the click is a negative one.
        click = next_click(outside, nowhere, None, state.clicks)
        state = replace(state, clicks=(*state.clicks, click))


def _predicted(state: Interaction, model: ClickModel) -> tuple[Interaction, MaskCrop]:
    """The interaction after a prediction, and the predicted mask."""
    (prediction,) = model.predict([state])
    after = after_prediction(state, prediction)
    assert isinstance(after.focus, MaskCrop)
    return after, after.focus
