"""Simulated interaction for evaluation (protocol, section 3): the next click, the IoU, the clicks until a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.config import ClicksConfig
from schemas.crop import Box, MaskCrop, ProbabilityMap, crop_mask, threshold
from schemas.records import Click, Interaction
from stages.click_model import ClickModel
from stages.draws import index
from stages.morphology import depth

FOREGROUND = 0.5
"""What the region of interest follows, whatever threshold the evaluation has."""


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """A mask that clicks are to reach.

    image: (H, W, 3) uint8 RGB. truth: the mask; some of its pixels must count. target: IoU at which it is reached.
    ignore: pixels that count nowhere.
    """

    image: NDArray[np.uint8]
    truth: MaskCrop
    target: float
    ignore: MaskCrop | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """How an interaction begins. granularity: of all its predictions, None for none. click: the first one, None for
    the centre of the mask."""

    granularity: float | None = None
    click: Click | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A click, the IoU after it, and the pixels of the predicted mask."""

    click: Click
    iou: float
    area: int


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """An interaction from its first click to its last, and the masks that were predicted after these two."""

    start: Start
    steps: tuple[Step, ...]
    first: MaskCrop
    last: MaskCrop


class _Scene:
    """What the interactions of one subject share. best: fewest clicks with which one has succeeded so far."""

    def __init__(self, subject: Subject, config: ClicksConfig) -> None:
        self.subject = subject
        self.truth = subject.truth.full()
        self.counted = None if subject.ignore is None else ~subject.ignore.full()
        self.nothing = np.zeros_like(self.truth)
        self.centre = next_click(self.nothing, self.truth, self.counted, ())
        self.best = config.max_clicks


class _Running:
    """An interaction on its way. before: one that has ended, whose region of interest is carried over."""

    def __init__(self, scene: _Scene, start: Start, before: _Running | None) -> None:
        self.scene = scene
        self.start = start
        self.predicted = scene.nothing
        self.first: NDArray[np.bool_] | None = None
        self.steps: list[Step] = []
        self.state = Interaction(scene.subject.image, (), prompt=None, focus=None, granularity=start.granularity)
        if before is not None:
            self.state = replace(self.state, focus=before.state.focus, roi=before.state.roi)

    def click(self) -> None:
        """Add the next click."""
        scene, clicks = self.scene, self.state.clicks
        if clicks:
            click = next_click(self.predicted, scene.truth, scene.counted, clicks)
        else:
            click = self.start.click or scene.centre
        self.state = replace(self.state, clicks=(*clicks, click))

    def record(self, probability: ProbabilityMap, roi: Box, level: float) -> None:
        """Take in the prediction after the last click."""
        self.predicted = probability.full() > level
        if self.first is None:
            self.first = self.predicted
        iou = counted_iou(self.predicted, self.scene.truth, self.scene.counted)
        self.steps.append(Step(self.state.clicks[-1], iou, int(np.count_nonzero(self.predicted))))
        if iou >= self.scene.subject.target:
            self.scene.best = min(self.scene.best, len(self.steps))
        focus = threshold(probability, FOREGROUND)
        self.state = replace(self.state, prompt=probability, focus=focus, roi=roi)

    def goes_on(self, config: ClicksConfig) -> bool:
        """Whether another click follows; with ``early_stop``, an interaction that has lost against another one ends."""
        done = len(self.steps)
        if done == config.max_clicks or not config.early_stop:
            return done < config.max_clicks
        # One after the other, an interaction makes the click with which it has lost, as in the release: the region of
        # interest after it is what the next one starts with.
        lost = done > self.scene.best if config.carry_roi else done >= self.scene.best
        return not lost and self.steps[-1].iou < self.scene.subject.target

    def trace(self) -> Trace:
        """What is left of it."""
        assert self.first is not None
        first, last = (crop_mask(mask, *mask.shape) for mask in (self.first, self.predicted))
        return Trace(self.start, tuple(self.steps), first, last)


def evaluate(
    subjects: Sequence[Subject], starts: Sequence[Sequence[Start]], model: ClickModel, config: ClicksConfig
) -> list[list[Trace]]:
    """Run the interactions of a batch of subjects, one forward for all that go on; the traces of each subject.

    starts: of each subject's interactions. They advance side by side, or, with ``carry_roi``, one after the other
    (those of different subjects still side by side). Which ones share a forward depends on the batch's clicks alone.
    """
    scenes = [_Scene(subject, config) for subject in subjects]
    pairs = list(zip(scenes, starts, strict=True))
    if not config.carry_roi:
        running = [[_Running(scene, start, None) for start in own] for scene, own in pairs]
        _advance([one for own in running for one in own], model, config)
        return [[one.trace() for one in own] for own in running]
    before: dict[_Scene, _Running] = {}
    traces: dict[_Scene, list[Trace]] = {scene: [] for scene in scenes}
    for turn in range(max(map(len, starts), default=0)):
        now = {scene: _Running(scene, own[turn], before.get(scene)) for scene, own in pairs if turn < len(own)}
        _advance(list(now.values()), model, config)
        for scene, one in now.items():
            traces[scene].append(one.trace())
        before = now
    return [traces[scene] for scene in scenes]


def _advance(active: list[_Running], model: ClickModel, config: ClicksConfig) -> None:
    while active:
        for one in active:
            one.click()
        predictions = model.predict([one.state for one in active])
        for one, prediction in zip(active, predictions, strict=True):
            one.record(prediction.probability, prediction.roi, config.threshold)
        active = [one for one in active if one.goes_on(config)]


def first_clicks(truth: MaskCrop, ignore: MaskCrop | None, uniforms: NDArray[np.float64]) -> list[Click]:
    """Positive clicks in the middle of a mask, one for each uniform number in [0, 1).

    Each is drawn from the pixels that count and lie at least half as deep in the mask as its centre does: where a
    person may well click instead of it.
    """
    frame = truth.full()
    if ignore is not None:
        frame &= ~ignore.full()
    mask = crop_mask(frame, truth.height, truth.width)
    distance = depth(mask)
    middle = np.argwhere(distance >= distance.max() / 2)
    chosen = (middle[index(float(uniform), len(middle))] for uniform in uniforms)
    return [Click(int(row) + mask.box.top, int(col) + mask.box.left, True) for row, col in chosen]


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


def noc(ious: Sequence[float], target: float, max_clicks: int) -> int:
    """Number of clicks until the IoU is at least ``target``; ``max_clicks`` if it never is (NoC@target)."""
    return next((n for n, iou in enumerate(ious, start=1) if iou >= target), max_clicks)


def best(traces: Sequence[Trace], target: float, max_clicks: int) -> int:
    """Which of the traces of one subject is reported: fewest clicks, then the highest first IoU, then the first."""
    ious = [[step.iou for step in trace.steps] for trace in traces]
    return min(range(len(ious)), key=lambda n: (noc(ious[n], target, max_clicks), -ious[n][0], n))
