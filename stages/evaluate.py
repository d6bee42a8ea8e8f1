"""Simulated interaction for evaluation (protocol, section 3): the next click, the IoU, the clicks to a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.config import ClicksConfig
from schemas.crop import MaskCrop, area, threshold
from schemas.records import Click, Interaction, Prediction
from stages.click_model import ClickModel, after_prediction
from stages.next_click import next_click


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """A mask that simulated clicks are to reach.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: the mask; some of its pixels must not be ignored.
        target: IoU at which it is reached.
        ignore: pixels ignored in the IoU and by the clicks; None for no pixel.
    """

    image: NDArray[np.uint8]
    truth: MaskCrop
    target: float
    ignore: MaskCrop | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """How an interaction begins.

    Args:
        granularity: of all its predictions, in [0, 1]; None for no granularity.
        click: the first click; None for that which the configuration places.
        draws: a number in [0, 1) per click, by which clicks are drawn that are not placed in centres.
    """

    granularity: float | None = None
    click: Click | None = None
    draws: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A click and its result.

    Args:
        click: the click.
        iou: IoU after it.
        area: of the predicted mask, in pixels.
    """

    click: Click
    iou: float
    area: int


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """An interaction from its first click to its last.

    Args:
        start: how it began.
        steps: its clicks, in order.
        first, last: masks predicted after the first and after the last click.
    """

    start: Start
    steps: tuple[Step, ...]
    first: MaskCrop
    last: MaskCrop


class _Scene:
    """What the interactions with one subject share.

    Attributes:
        truth: the mask to reach, (H, W) bool.
        counted: pixels that are not ignored, (H, W) bool; None for all.
        place: where clicks are placed.
        fewest: clicks of the best interaction so far that has reached the target; ``max_clicks`` as long as none has.
    """

    def __init__(self, subject: Subject, config: ClicksConfig) -> None:
        self.subject = subject
        self.truth = subject.truth.full()
        self.counted = None if subject.ignore is None else ~subject.ignore.full()
        self.place = config.place
        self.fewest = config.max_clicks


class _Running:
    """An interaction that is being simulated.

    Args:
        scene: what it shares with the other interactions with its subject.
        start: how it begins.
        before: an interaction that has ended, whose region of interest it takes over; None for no region.
    """

    def __init__(self, scene: _Scene, start: Start, before: _Running | None = None) -> None:
        self.scene = scene
        self.start = start
        self.predicted: MaskCrop | None = None
        self.first: MaskCrop | None = None
        self.steps: list[Step] = []
        self.state = Interaction(scene.subject.image, (), prompt=None, focus=None, granularity=start.granularity)
        if before is not None:
            self.state = replace(self.state, focus=before.state.focus, roi=before.state.roi)

    def click(self) -> None:
        """Make the next click."""
        scene, clicks = self.scene, self.state.clicks
        if self.predicted is None and self.start.click is not None:
            click = self.start.click
        else:
            predicted = np.zeros_like(scene.truth) if self.predicted is None else self.predicted.full()
            draw = 0.0 if scene.place == "centre" else self.start.draws[len(clicks)]
            click = next_click(predicted, scene.truth, scene.counted, clicks, scene.place, draw)
        self.state = replace(self.state, clicks=(*clicks, click))

    def record(self, prediction: Prediction, level: float) -> None:
        """Take in the prediction after the last click; of several maps, the one that is nearest to the truth."""
        maps = prediction.probability, *prediction.others
        masks = [threshold(each, level) for each in maps]
        ious = [counted_iou(each.full(), self.scene.truth, self.scene.counted) for each in masks]
        iou = max(ious)
        nearest = ious.index(iou)
        prediction = replace(prediction, probability=maps[nearest], others=())
        self.predicted = masks[nearest]
        if self.first is None:
            self.first = self.predicted
        self.steps.append(Step(self.state.clicks[-1], iou, area(self.predicted)))
        if iou >= self.scene.subject.target:
            self.scene.fewest = min(self.scene.fewest, len(self.steps))
        self.state = after_prediction(self.state, prediction)

    def needs_click(self, config: ClicksConfig) -> bool:
        """Whether another click follows.

        With ``early_stop`` an interaction ends when it reaches the target, or when it can no longer win: another one
        with the same subject has reached the target with no more clicks than this one has made.
        """
        clicks = len(self.steps)
        if clicks == config.max_clicks:
            return False
        if not config.early_stop:
            return True
        if self.steps[-1].iou >= self.scene.subject.target:
            return False
        # The authors' program ends it one click later. That click moves the region of interest that the next
        # interaction takes over, so with carry_roi it is made, too.
        allowed = self.scene.fewest + 1 if config.carry_roi else self.scene.fewest
        return clicks < allowed

    def trace(self) -> Trace:
        """The interaction as it ended."""
        assert self.first is not None and self.predicted is not None
        return Trace(self.start, tuple(self.steps), self.first, self.predicted)


def evaluate(
    subjects: Sequence[Subject], starts: Sequence[Sequence[Start]], model: ClickModel, config: ClicksConfig
) -> list[list[Trace]]:
    """Simulate interactions with a batch of subjects.

    Interactions run side by side: one forward of the model predicts the next click of all that have not ended. With
    ``carry_roi`` the interactions with one subject run one after another, and only those with different subjects side
    by side. Which interactions share a forward depends on the batch alone.

    Args:
        subjects: the masks to reach.
        starts: per subject, how its interactions begin.
        model: what is evaluated.
        config: configuration of the clicks.

    Returns:
        Per subject, the traces of its interactions, in the order of ``starts``.
    """
    scenes = [_Scene(subject, config) for subject in subjects]
    if config.carry_roi:
        return _one_after_another(scenes, starts, model, config)
    running = [[_Running(scene, start) for start in own] for scene, own in zip(scenes, starts, strict=True)]
    _run_to_end([one for own in running for one in own], model, config)
    return [[one.trace() for one in own] for own in running]


def _one_after_another(
    scenes: Sequence[_Scene], starts: Sequence[Sequence[Start]], model: ClickModel, config: ClicksConfig
) -> list[list[Trace]]:
    """As ``evaluate``; each interaction takes over the region of interest of the one before it."""
    traces: list[list[Trace]] = [[] for _ in scenes]
    before: list[_Running | None] = [None] * len(scenes)
    for turn in range(max(map(len, starts), default=0)):
        now = {}
        for number, (scene, own) in enumerate(zip(scenes, starts, strict=True)):
            if turn < len(own):
                now[number] = before[number] = _Running(scene, own[turn], before[number])
        _run_to_end(list(now.values()), model, config)
        for number, one in now.items():
            traces[number].append(one.trace())
    return traces


def _run_to_end(active: list[_Running], model: ClickModel, config: ClicksConfig) -> None:
    """Make clicks and predictions until all interactions have ended, with one forward per click for all that run."""
    while active:
        for one in active:
            one.click()
        predictions = model.predict([one.state for one in active])
        for one, prediction in zip(active, predictions, strict=True):
            one.record(prediction, config.threshold)
        active = [one for one in active if one.needs_click(config)]


def counted_iou(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], counted: NDArray[np.bool_] | None) -> float:
    """IoU of two masks over the pixels that are not ignored.

    Args:
        predicted, truth: masks, (H, W).
        counted: pixels that are not ignored, (H, W); None for all.

    Returns:
        A number in [0, 1]; 0 if both masks are empty there.
    """
    if counted is not None:
        predicted, truth = predicted & counted, truth & counted
    union = int(np.count_nonzero(predicted | truth))
    return int(np.count_nonzero(predicted & truth)) / union if union else 0.0


def noc(ious: Sequence[float], target: float, max_clicks: int) -> int:
    """NoC@target: number of the first click after which the IoU is at least the target (protocol, section 3).

    Args:
        ious: IoU after each click.
        target: IoU to reach.
        max_clicks: returned if no click reaches the target.
    """
    return next((n for n, iou in enumerate(ious, start=1) if iou >= target), max_clicks)


def best(traces: Sequence[Trace], target: float, max_clicks: int) -> int:
    """Index of the trace that is reported of a subject: fewest clicks, then highest IoU of the first click, then first.

    Args:
        traces: of one subject.
        target: IoU to reach.
        max_clicks: clicks that count for a trace that does not reach it.
    """
    ious = [[step.iou for step in trace.steps] for trace in traces]
    return min(range(len(ious)), key=lambda n: (noc(ious[n], target, max_clicks), -ious[n][0], n))
