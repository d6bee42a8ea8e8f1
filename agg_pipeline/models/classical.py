"""Interactive segmentation without learning: random walker, GrabCut, geodesic distance.

All take clicks in the classic way. A click marks a disk of pixels for sure, and the border of the image is background,
as far as no positive click lies there. Images are made smaller before, which is what ``side`` says; maps come back at
the image's own size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.models.other_models import ModelFacts, OtherModel, check_arguments, number_argument
from schemas.records import Click, Interaction, Pixels
from stages.opencv import without_ipp

SIDE = 320
"""Longest side of the images that the methods see, by default."""
LARGEST_SIDE = 8192
RADIUS = 3
"""Radius of the disk that a click marks, in pixels of the smaller image."""
BETA = 130.0
"""How much colour differences hinder the random walker (Grady 2006, Eq. 1); scikit-image's default."""
ITERATIONS = 5
"""Rounds of GrabCut."""
REACH = 0.25
"""Before there is a prediction, GrabCut looks for the object this far around positive clicks, as a share of the longest
side."""
GAMMA = 1000.0
"""Weight of colour differences against the way in pixels, for the geodesic distance."""
UNKNOWN, FOREGROUND, BACKGROUND = 0, 1, 2
SIDES = (FOREGROUND, BACKGROUND)

T = TypeVar("T", np.uint8, np.float32)
Segment = Callable[[Pixels, NDArray[np.uint8], NDArray[np.bool_] | None], NDArray[np.float32]]
"""(image, marks of its pixels, last mask) -> foreground map, (H, W) float32 in [0, 1]."""


@dataclass(frozen=True)
class ClassicalMethod:
    """A click model around a method that takes marked pixels.

    Attributes:
        facts: what it says of itself.
        segment: the method.
        side: longest side of the image that it sees; 0 for images as they are.
    """

    facts: ModelFacts
    segment: Segment
    side: int

    def predict(self, interactions: Sequence[Interaction]) -> list[NDArray[np.float32]]:
        """Segment images one by one.

        Args:
            interactions: with their clicks.

        Returns:
            A map per interaction, (H, W) float32 in [0, 1].
        """
        return [self._one(interaction) for interaction in interactions]

    def _one(self, interaction: Interaction) -> NDArray[np.float32]:
        height, width = interaction.image.shape[:2]
        scale = min(1.0, self.side / max(height, width)) if self.side else 1.0
        rows, cols = max(1, round(height * scale)), max(1, round(width * scale))
        image = _resized(interaction.image, rows, cols)
        marks = marked(interaction.clicks, rows / height, cols / width, rows, cols)
        last = None
        if interaction.prompt is not None:
            last = _resized(interaction.prompt.full().astype(np.float32), rows, cols) > 0.5
        found = _resized(self.segment(image, marks, last), height, width)
        return np.asarray(np.clip(found, 0, 1), np.float32)


def _resized(array: NDArray[T], rows: int, cols: int) -> NDArray[T]:
    if array.shape[:2] == (rows, cols):
        return array
    way = cv2.INTER_AREA if rows < array.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(array, (cols, rows), interpolation=way), array.dtype)


def marked(clicks: Sequence[Click], down: float, across: float, rows: int, cols: int) -> NDArray[np.uint8]:
    """Mark the pixels that clicks are sure of.

    Args:
        clicks: in pixels of the image.
        down: rows of the smaller image per row of the image.
        across: columns of the smaller image per column of the image.
        rows: rows of the smaller image.
        cols: columns of the smaller image.

    Returns:
        (rows, cols) uint8: UNKNOWN, FOREGROUND or BACKGROUND. Later clicks go before earlier ones.
    """
    marks = np.full((rows, cols), UNKNOWN, np.uint8)
    marks[[0, -1], :] = BACKGROUND
    marks[:, [0, -1]] = BACKGROUND
    for click in clicks:
        centre = min(cols - 1, int((click.col + 0.5) * across)), min(rows - 1, int((click.row + 0.5) * down))
        cv2.circle(marks, centre, RADIUS, FOREGROUND if click.positive else BACKGROUND, -1)
    return marks


def random_walker(arguments: Mapping[str, str], _device: str) -> OtherModel:
    """The random walker (Grady 2006): the probability that a walk from a pixel meets a positive click first.

    Args:
        arguments: ``beta``, how much colour differences hinder it, and ``side``.

    Raises:
        UserError: an argument cannot be used.
    """
    check_arguments(arguments, ("beta", "side"), "random-walker")
    beta = number_argument(arguments, "beta", BETA, 1e-3, 1e6)
    side = int(number_argument(arguments, "side", SIDE, 0, LARGEST_SIDE))

    def segment(image: Pixels, marks: NDArray[np.uint8], _last: object) -> NDArray[np.float32]:
        from skimage.segmentation import random_walker as walk

        if not (marks == BACKGROUND).any() or not (marks == FOREGROUND).any():
            return np.asarray(marks != BACKGROUND, np.float32)
        data = image / np.float32(255)
        if not data.std():
            # scikit-image divides by the deviation. The corner is marked as it is.
            data[0, 0] = 1
        # The direct solver is exact, and as fast as conjugate gradients on images of this size.
        found = walk(data, marks, beta=beta, mode="bf", channel_axis=-1, return_full_prob=True)
        return np.asarray(found[0], np.float32)

    return ClassicalMethod(
        ModelFacts("random-walker", settings={"beta": beta, "side": side, "scikit-image": version("scikit-image")}),
        segment,
        side,
    )


def grabcut(arguments: Mapping[str, str], _device: str) -> OtherModel:
    """GrabCut (Rother et al. 2004): colour models of both sides and a graph cut, in turns, from the last mask on.

    Args:
        arguments: ``iterations`` and ``side``.

    Raises:
        UserError: an argument cannot be used.
    """
    check_arguments(arguments, ("iterations", "side"), "grabcut")
    iterations = int(number_argument(arguments, "iterations", ITERATIONS, 1, 100))
    side = int(number_argument(arguments, "side", SIDE, 0, LARGEST_SIDE))

    def segment(image: Pixels, marks: NDArray[np.uint8], last: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        if last is None or not last.any():
            reach = round(REACH * max(marks.shape))
            last = np.asarray(cv2.dilate((marks == FOREGROUND).astype(np.uint8), _disk(reach))) > 0
        mask = np.where(last, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        mask[marks == FOREGROUND] = cv2.GC_FGD
        mask[marks == BACKGROUND] = cv2.GC_BGD
        sides = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))
        # The colour models need pixels on both sides.
        if sides.all() or not sides.any():
            return sides.astype(np.float32)
        cv2.setRNGSeed(0)
        colours = np.zeros((2, 1, 65))
        bgr = np.ascontiguousarray(image[..., ::-1])
        cv2.grabCut(bgr, mask, (0, 0, 0, 0), colours[0], colours[1], iterations, cv2.GC_INIT_WITH_MASK)
        return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)

    settings: dict[str, str | int | float] = {"iterations": iterations, "side": side, "opencv": cv2.__version__}
    facts = ModelFacts("grabcut", probabilities=False, settings=settings)
    return ClassicalMethod(facts, segment, side)


def geodesic(arguments: Mapping[str, str], _device: str) -> OtherModel:
    """Geodesic distance (Bai and Sapiro 2007): the nearer a pixel is to positive clicks, the likelier it is foreground.

    A way is the longer, the more the colour changes along it. The map is D_b / (D_f + D_b), where D_f and D_b are the
    distances to the nearest pixel that is marked as foreground and as background.

    Args:
        arguments: ``gamma``, the weight of colour changes, and ``side``.

    Raises:
        UserError: an argument cannot be used.
    """
    check_arguments(arguments, ("gamma", "side"), "geodesic")
    gamma = number_argument(arguments, "gamma", GAMMA, 0, 1e9)
    side = int(number_argument(arguments, "side", SIDE, 0, LARGEST_SIDE))

    def segment(image: Pixels, marks: NDArray[np.uint8], _last: object) -> NDArray[np.float32]:
        from skimage.graph import MCP_Geometric

        if not (marks == BACKGROUND).any() or not (marks == FOREGROUND).any():
            return np.asarray(marks != BACKGROUND, np.float32)
        costs = 1 + gamma * _gradient(image)
        near, far = (MCP_Geometric(costs).find_costs(np.argwhere(marks == kind))[0] for kind in SIDES)
        return np.asarray(far / (near + far), np.float32)

    return ClassicalMethod(
        ModelFacts("geodesic", settings={"gamma": gamma, "side": side, "scikit-image": version("scikit-image")}),
        segment,
        side,
    )


def _gradient(image: Pixels) -> NDArray[np.float64]:
    """How much the colour changes at a pixel, (H, W) float64 in about [0, 1]."""
    with without_ipp():
        smooth = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float64) / 255
    down, across = np.gradient(smooth, axis=(0, 1)) if min(image.shape[:2]) > 1 else (np.zeros_like(smooth),) * 2
    return np.asarray(np.sqrt((down**2 + across**2).sum(axis=2)), np.float64)


def _disk(radius: int) -> NDArray[np.uint8]:
    rows, cols = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(rows**2 + cols**2 <= radius**2, np.uint8)
