"""Simulated interaction for evaluation (protocol, section 3): the next click, the IoU, the clicks until a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.config import EvaluateConfig
from schemas.crop import Box, MaskCrop, ProbabilityMap, crop_mask, threshold
from schemas.records import Click, Interaction
from stages.click_model import ClickModel
from stages.morphology import depth

FOREGROUND = 0.5
"""What the region of interest follows, whatever threshold the evaluation has."""


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """A mask that clicks are to reach.

    image: (H, W, 3) uint8 RGB. truth: the mask; some of its pixels must count. ignore: pixels that count nowhere.
    """

    image: NDArray[np.uint8]
    truth: MaskCrop
    ignore: MaskCrop | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A click, and the IoU after it."""

    click: Click
    iou: float


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """An interaction from its first click to its last. granularity: of all its predictions, None for none."""

    subject: Subject
    granularity: float | None
    steps: tuple[Step, ...]


class _Running:
    """An interaction on its way."""

    def __init__(self, subject: Subject, granularity: float | None) -> None:
        self.subject = subject
        self.truth = subject.truth.full()
        self.counted = None if subject.ignore is None else ~subject.ignore.full()
        self.predicted = np.zeros_like(self.truth)
        self.state = Interaction(subject.image, (), prompt=None, focus=None, granularity=granularity)
        self.steps: list[Step] = []

    def click(self) -> None:
        """Add the next click."""
        click = next_click(self.predicted, self.truth, self.counted, self.state.clicks)
        self.state = replace(self.state, clicks=(*self.state.clicks, click))

    def record(self, probability: ProbabilityMap, roi: Box, level: float) -> float:
        """Take in the prediction after the last click; its IoU."""
        self.predicted = probability.full() > level
        iou = counted_iou(self.predicted, self.truth, self.counted)
        self.steps.append(Step(self.state.clicks[-1], iou))
        focus = threshold(probability, FOREGROUND)
        self.state = replace(self.state, prompt=probability, focus=focus, roi=roi)
        return iou


def interact(
    subjects: Sequence[Subject], granularities: Sequence[float | None], model: ClickModel, config: EvaluateConfig
) -> list[Trace]:
    """Run a batch of interactions side by side, one forward for all that have not reached their target.

    granularities: of each subject's predictions. Which interactions share a forward depends on their own clicks alone.
    """
    running = [_Running(*pair) for pair in zip(subjects, granularities, strict=True)]
    active = list(running)
    for _ in range(config.max_clicks):
        for one in active:
            one.click()
        predictions = model.predict([one.state for one in active])
        ious = [one.record(p.probability, p.roi, config.threshold) for one, p in zip(active, predictions, strict=True)]
        if config.early_stop:
            active = [one for one, iou in zip(active, ious, strict=True) if iou < config.target]
        if not active:
            break
    return [Trace(one.subject, one.state.granularity, tuple(one.steps)) for one in running]


def next_click(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], counted: NDArray[np.bool_] | None, clicks: Sequence[Click]
) -> Click:
    """The centre of the larger error region: positive where pixels are missing, negative where there are too many.

    predicted, truth: (H, W). counted: pixels that count, None for all. The centre is the first maximum, row-major, of
    the distance transform without the pixels clicked before; equal maxima give the negative one, and where nothing is
    wrong it is (0, 0).
    """
    wrong = predicted != truth
    if counted is not None:
        wrong &= counted
    missing, position = _centre(wrong & truth, clicks)
    surplus, elsewhere = _centre(wrong & predicted, clicks)
    return Click(*position, True) if missing > surplus else Click(*elsewhere, False)


def _centre(region: NDArray[np.bool_], clicks: Sequence[Click]) -> tuple[float, tuple[int, int]]:
    """Distance of the first deepest pixel of a region from its outside, and that pixel; 0 and (0, 0) for none."""
    mask = crop_mask(region, *region.shape)
    box = mask.box
    if not mask.values.size:
        return 0.0, (0, 0)
    distance = depth(mask)
    for click in clicks:
        row, col = click.row - box.top, click.col - box.left
        if 0 <= row < box.height and 0 <= col < box.width:
            distance[row, col] = 0.0
    deepest = float(distance.max())
    if deepest == 0.0:
        return 0.0, (0, 0)
    row, col = divmod(int(distance.argmax()), box.width)
    return deepest, (row + box.top, col + box.left)


def counted_iou(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], counted: NDArray[np.bool_] | None) -> float:
    """IoU of two (H, W) masks over the pixels that count (None: all)."""
    if counted is not None:
        predicted, truth = predicted & counted, truth & counted
    union = int(np.count_nonzero(predicted | truth))
    return int(np.count_nonzero(predicted & truth)) / union if union else 0.0


def noc(trace: Trace, target: float, max_clicks: int) -> int:
    """Number of clicks until the IoU is at least ``target``; ``max_clicks`` if it never is (NoC@target)."""
    return next((n for n, step in enumerate(trace.steps, start=1) if step.iou >= target), max_clicks)


def best_granularity(traces: Sequence[Trace], config: EvaluateConfig) -> int:
    """Which of the traces of one subject is reported: fewest clicks, then the highest first IoU, then the first."""
    return min(
        range(len(traces)),
        key=lambda n: (noc(traces[n], config.target, config.max_clicks), -traces[n].steps[0].iou, n),
    )
