"""Mask engine: the multi-granularity loop simulation of Section 3.2 (Eq. 1-2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.config import LoopConfig
from schemas.crop import MaskCrop, area, threshold
from schemas.records import Candidate, Click, Interaction, Loop, Prediction, Target
from stages.click_model import ClickModel
from stages.colour import differences
from stages.draws import index, uniforms

THRESHOLD = 0.5


DrawClick = Callable[[Target, int, MaskCrop, tuple[Click, ...]], Click | None]
"""(target, step, current mask, earlier clicks) -> the next click, or None if none can be drawn.

The first click is positive and the current mask the object; later that is Y_{t-1} > 0.5 and the click negative.
"""


def first_step(round_: int, config: LoopConfig) -> int:
    """The number of Y_0 in an object's loop of this round, from 0: no two steps of an object have the same one."""
    return round_ * (config.max_negatives + 1)


def loop_length(seed: int, dataset: str, target: Target, config: LoopConfig, round_: int = 0) -> int:
    """Number N of iterations after Y_0, uniform in min_negatives..max_negatives."""
    choices = config.max_negatives - config.min_negatives + 1
    draw = uniforms(seed, dataset, target.image.image_id, target.object.instance_id, "loop-length", round_, 1)
    return config.min_negatives + index(draw[0], choices)


def random_click(seed: int, dataset: str, config: LoopConfig) -> DrawClick:
    """The click simulator: a uniform pixel of the current mask that is not too close to earlier clicks.

    A negative click is, of ``config.contrast`` such pixels, the one whose colour differs most from that at the positive
    click: it is more likely on another part of the object.
    """

    def draw(target: Target, step: int, mask: MaskCrop, clicks: tuple[Click, ...]) -> Click | None:
        pixels = np.flatnonzero(mask.values)
        box = target.object.mask.box
        closest = config.min_distance * math.hypot(box.height, box.width)
        numbers = uniforms(
            seed, dataset, target.image.image_id, target.object.instance_id, "click", step, config.max_draws
        )
        wanted = config.contrast if clicks else 1
        found: list[tuple[int, int]] = []
        for number in numbers:
            row, col = divmod(int(pixels[index(number, pixels.size)]), mask.box.width)
            row, col = row + mask.box.top, col + mask.box.left
            if all(math.hypot(row - c.row, col - c.col) >= closest for c in clicks):
                found.append((row, col))
                if len(found) == wanted:
                    break
        if not found:
            return None
        best = 0
        if len(found) > 1:
            first = (int(clicks[0].row), int(clicks[0].col))
            best = int(differences(target.image.pixels, first, found).argmax())
        return Click(*found[best], not clicks)

    return draw


@dataclass(slots=True)
class _State:
    target: Target
    first: int
    steps: int
    interaction: Interaction
    candidates: list[Candidate]
    ended: str | None = None
    ended_step: int = 0


def simulate(
    targets: Sequence[Target],
    lengths: Sequence[int],
    model: ClickModel,
    config: LoopConfig,
    draw_click: DrawClick,
    rounds: Sequence[int] | None = None,
) -> list[Loop]:
    """Run the loops of a batch of objects side by side, one forward for all that still run.

    lengths: N of each target; Y_0..Y_N are predicted. rounds: of each target, None for 0. The first input has the
    object mask as mask prompt and one positive click (Eq. 1); each later one the last probability map and one more
    negative click (Eq. 2). A loop ends early at an empty mask or where no click can be drawn. Targets must have
    non-empty masks.
    """
    firsts = [first_step(each, config) for each in rounds or [0] * len(targets)]
    starts = zip(targets, firsts, lengths, strict=True)
    states = [_first(target, first, length, config.zoom, draw_click) for target, first, length in starts]
    for step in range(max(lengths, default=0) + 1):
        running = [state for state in states if state.ended is None and step <= state.steps]
        if step > 0:
            for state in running:
                _add_click(state, step, config, draw_click)
            running = [state for state in running if state.ended is None]
        if not running:
            break
        for state, prediction in zip(running, model.predict([s.interaction for s in running]), strict=True):
            _record(state, step, prediction)
    return [
        Loop(state.target, tuple(_kept(state.candidates, config)), state.ended, state.ended_step) for state in states
    ]


def _first(target: Target, first: int, length: int, zoom: bool, draw_click: DrawClick) -> _State:
    mask = target.object.mask
    click = draw_click(target, first, mask, ())
    if click is None:
        raise ValueError("the first click has no earlier one to be too close to")
    # Before the first prediction there is no map for the region of interest to follow: it is the whole image, or it
    # follows the object.
    focus = mask if zoom else None
    return _State(target, first, length, Interaction(target.image.pixels, (click,), prompt=mask, focus=focus), [])


def _add_click(state: _State, step: int, config: LoopConfig, draw_click: DrawClick) -> None:
    current = state.candidates[-1].mask
    if area(current) < config.min_mask_area:
        return
    if area(current) == 0:
        state.ended, state.ended_step = "empty", state.first + step - 1
        return
    clicks = state.interaction.clicks
    click = draw_click(state.target, state.first + step, current, clicks)
    if click is None:
        state.ended, state.ended_step = "no_click", state.first + step
        return
    state.interaction = replace(state.interaction, clicks=(*clicks, click))


def _record(state: _State, step: int, prediction: Prediction) -> None:
    mask = threshold(prediction.probability, THRESHOLD)
    state.candidates.append(Candidate(state.first + step, state.interaction.clicks, mask))
    # The region follows what is above 0.5 of the last map, which is this mask.
    state.interaction = replace(state.interaction, prompt=prediction.probability, focus=mask, roi=prediction.roi)


def _kept(candidates: Sequence[Candidate], config: LoopConfig) -> Iterator[Candidate]:
    yield from candidates if config.keep == "all" else candidates[-1:]
