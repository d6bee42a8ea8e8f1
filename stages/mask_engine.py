"""Mask engine: the multi-granularity loop simulation (Section 3.2, Eq. 1-2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from schemas.config import LoopConfig
from schemas.crop import MaskCrop, area, threshold
from schemas.records import Candidate, Click, Interaction, Loop, Pixels, Prediction, Target
from stages.click_model import ClickModel
from stages.colour import differences
from stages.draws import drawn_pixels, index, uniforms

THRESHOLD = 0.5
"""A pixel above this probability is in the mask Y_t."""

DrawClick = Callable[[Target, Pixels, int, MaskCrop, tuple[Click, ...]], Click | None]
"""(target, its image's pixels, step, current mask, earlier clicks) -> the next click, None if none can be drawn.

The first click is positive and the current mask is the object; later clicks are negative and it is Y_{t-1} > 0.5.
"""


def first_step(round_: int, config: LoopConfig) -> int:
    """Number of Y_0 in a round of an object's loops, so that no two steps of the object have the same number.

    Args:
        round_: number of the round, from 0.
        config: its ``max_negatives`` is the length of the longest loop.
    """
    return round_ * (config.max_negatives + 1)


def loop_length(seed: int, dataset: str, target: Target, config: LoopConfig, round_: int = 0) -> int:
    """Draw the number N of iterations after Y_0, uniformly from min_negatives..max_negatives.

    Args:
        seed: seed of the run.
        dataset: name of the data set.
        target: the object.
        config: range of N.
        round_: number of the object's loop, from 0.
    """
    choices = config.max_negatives - config.min_negatives + 1
    draw = uniforms(seed, dataset, target.image.image_id, target.object.instance_id, "loop-length", round_, 1)
    return config.min_negatives + index(draw[0], choices)


def random_click(seed: int, dataset: str, config: LoopConfig) -> DrawClick:
    """The click simulator: a random pixel of the current mask that is not too close to earlier clicks.

    For a negative click, ``config.contrast`` such pixels are drawn, and the one whose colour differs most from the
    positive click's is taken: it is more likely to lie on another part of the object.

    Args:
        seed: seed of the run.
        dataset: name of the data set.
        config: distance, number of draws, and contrast.
    """

    def draw(target: Target, pixels: Pixels, step: int, mask: MaskCrop, clicks: tuple[Click, ...]) -> Click | None:
        numbers = uniforms(
            seed, dataset, target.image.image_id, target.object.instance_id, "click", step, config.max_draws
        )
        box = target.object.mask.box
        min_distance = config.min_distance * math.hypot(box.height, box.width)
        places = _distant(drawn_pixels(mask, numbers), clicks, min_distance, config.contrast if clicks else 1)
        if not places:
            return None
        row, col = places[0] if len(places) == 1 else _most_different(pixels, clicks[0], places)
        return Click(row, col, positive=not clicks)

    return draw


def _distant(
    places: Iterable[tuple[int, int]], clicks: Sequence[Click], min_distance: float, count: int
) -> list[tuple[int, int]]:
    """The first ``count`` places that are not too close to a click."""
    distant = (
        (row, col)
        for row, col in places
        if all(math.hypot(row - click.row, col - click.col) >= min_distance for click in clicks)
    )
    return list(islice(distant, count))


def _most_different(pixels: Pixels, click: Click, places: list[tuple[int, int]]) -> tuple[int, int]:
    """The place whose colour differs most from the colour at a click."""
    return places[int(differences(pixels, (click.row, click.col), places).argmax())]


@dataclass(slots=True)
class _RunningLoop:
    """A loop while it runs.

    Attributes:
        target: the object.
        first_step: number of Y_0.
        length: drawn number N of iterations after Y_0.
        interaction: input of the next prediction.
        candidates: masks so far.
        ended: why it stopped early; None while it runs or if it reaches its length.
        ended_step: step at which it stopped early.
    """

    target: Target
    first_step: int
    length: int
    interaction: Interaction
    candidates: list[Candidate] = field(default_factory=list)
    ended: str | None = None
    ended_step: int = 0


def simulate(
    targets: Sequence[Target],
    pixels: Sequence[Pixels],
    lengths: Sequence[int],
    model: ClickModel,
    config: LoopConfig,
    draw_click: DrawClick,
    rounds: Sequence[int] | None = None,
) -> list[Loop]:
    """Run one loop per object of a batch side by side, with one forward per step.

    Y_0 is predicted from one positive click with the object mask as mask prompt (Eq. 1); every later Y_t adds one
    negative click and has the last probability map as mask prompt (Eq. 2). A loop ends early at an empty mask, or
    where no click can be drawn.

    Args:
        targets: the objects; their masks are not empty.
        pixels: pixels of each object's image.
        lengths: N of each loop; Y_0..Y_N are predicted.
        model: click model.
        config: configuration of the loop.
        draw_click: click simulator.
        rounds: number of each loop among those of its object; None for 0.

    Returns:
        The loops in the order of ``targets``.
    """
    first_steps = [first_step(round_, config) for round_ in rounds or [0] * len(targets)]
    loops = [
        _start(target, image, first, length, config, draw_click)
        for target, image, first, length in zip(targets, pixels, first_steps, lengths, strict=True)
    ]
    for step in range(max(lengths, default=0) + 1):
        running = [loop for loop in loops if loop.ended is None and step <= loop.length]
        if step > 0:
            for loop in running:
                _add_click(loop, step, config, draw_click)
            running = [loop for loop in running if loop.ended is None]
        if not running:
            break
        predictions = model.predict([loop.interaction for loop in running])
        for loop, prediction in zip(running, predictions, strict=True):
            _record(loop, step, prediction)
    return [Loop(loop.target, tuple(_kept(loop.candidates, config)), loop.ended, loop.ended_step) for loop in loops]


def _start(
    target: Target, pixels: Pixels, first: int, length: int, config: LoopConfig, draw_click: DrawClick
) -> _RunningLoop:
    mask = target.object.mask
    click = draw_click(target, pixels, first, mask, ())
    if click is None:
        raise ValueError("the first click has no earlier one to be too close to")
    # Before the first prediction there is no map for the region of interest to follow: it is the whole image or, with
    # zoom, follows the object.
    focus = mask if config.zoom else None
    interaction = Interaction(pixels, (click,), prompt=mask, focus=focus)
    return _RunningLoop(target, first, length, interaction)


def _add_click(loop: _RunningLoop, step: int, config: LoopConfig, draw_click: DrawClick) -> None:
    current = loop.candidates[-1].mask
    if area(current) < config.min_mask_area:
        return
    if area(current) == 0:
        loop.ended, loop.ended_step = "empty", loop.first_step + step - 1
        return
    image, clicks = loop.interaction.image, loop.interaction.clicks
    click = draw_click(loop.target, image, loop.first_step + step, current, clicks)
    if click is None:
        loop.ended, loop.ended_step = "no_click", loop.first_step + step
        return
    loop.interaction = replace(loop.interaction, clicks=(*clicks, click))


def _record(loop: _RunningLoop, step: int, prediction: Prediction) -> None:
    mask = threshold(prediction.probability, THRESHOLD)
    loop.candidates.append(Candidate(loop.first_step + step, loop.interaction.clicks, mask))
    # The region of interest follows what is above 0.5 in the last map, which is this mask.
    loop.interaction = replace(loop.interaction, prompt=prediction.probability, focus=mask, roi=prediction.roi)


def _kept(candidates: list[Candidate], config: LoopConfig) -> list[Candidate]:
    return candidates if config.keep == "all" else candidates[-1:]
