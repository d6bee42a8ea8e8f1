"""Granularity estimator (Section 3.2, Eq. 3-6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from schemas.config import GranularityConfig
from schemas.crop import MaskCrop, ProbabilityMap, area, around
from schemas.numbers import granularity_bin, round_to_tenth
from schemas.records import Click, Estimate, Interaction, Proposal, Query
from stages.click_model import ClickModel
from stages.draws import index, uniforms
from stages.morphology import centre, eroded

ChooseClick = Callable[[Query], tuple[int, int]]
"""The (row, col) of the estimator's positive click in a proposal."""


def choose_click(config: GranularityConfig, seed: int, dataset: str) -> ChooseClick:
    """The centre of the mask, or (release) a random pixel of the mask eroded by ceil(0.1 sqrt(area)) iterations."""

    def centre_of(query: Query) -> tuple[int, int]:
        return centre(query.part.mask)

    def random_pixel(query: Query) -> tuple[int, int]:
        mask = query.part.mask
        core = eroded(mask, math.ceil(0.1 * math.sqrt(area(mask))))
        core = core if area(core) else mask
        ids = query.target.image.image_id, query.target.object.instance_id
        purpose, step = (
            (f"estimator-{query.kind}", query.part.step)
            if isinstance(query.part, Proposal)
            else (f"estimator-{query.kind}-{query.part.part_id}", 0)
        )
        draw = uniforms(seed, dataset, *ids, purpose, step, 1)
        pixels = np.flatnonzero(core.values)
        row, col = divmod(int(pixels[index(draw[0], pixels.size)]), core.box.width)
        return row + core.box.top, col + core.box.left

    return centre_of if config.click == "centre" else random_pixel


def estimate(
    queries: Sequence[Query], model: ClickModel, config: GranularityConfig, choose: ChooseClick
) -> list[Estimate]:
    """Granularities of a batch of non-empty masks, with one forward: M of Eq. 3 for every query."""
    clicks = [Click(*choose(query), True) for query in queries]
    predictions = model.predict([_interaction(q, click, config) for q, click in zip(queries, clicks, strict=True)])
    return [
        _measured(query, click, prediction.probability, config)
        for query, click, prediction in zip(queries, clicks, predictions, strict=True)
    ]


def _interaction(query: Query, click: Click, config: GranularityConfig) -> Interaction:
    thing = query.target.object.mask
    prompt = thing if config.object_prompt else None
    # Only the peaks inside of the proposal and of the object are asked for.
    wanted = around(thing.box, query.part.mask.box)
    return Interaction(query.target.image.pixels, (click,), prompt=prompt, focus=prompt, wanted=wanted)


def _measured(query: Query, click: Click, probability: ProbabilityMap, config: GranularityConfig) -> Estimate:
    object_mask = query.target.object.mask
    mask = query.part.mask
    if config.rounded and query.kind == "part" and round_to_tenth(area(mask) / area(object_mask)) > 1.0:
        # The release puts the object in the place of a proposal that outgrows it.
        mask = object_mask
    peak_proposal = peak_difference(probability, mask)
    peak_object = peak_difference(probability, object_mask)
    scale, semantic, granularity = combine(area(mask) / area(object_mask), peak_proposal, peak_object, config)
    number = granularity_bin(granularity)
    return Estimate(query, mask, click, peak_proposal, peak_object, scale, semantic, granularity, number)


def combine(
    area_ratio: float, peak_proposal: float, peak_object: float, config: GranularityConfig
) -> tuple[float, float, float]:
    """(scale, semantic, granularity) of Eq. 4-6 in float64, each in [0, 1], from areas and peak differences.

    Rounded (release): both to 0.1, scale at least 0.1; the granularity is 0.9 scale + 0.1 semantic where they differ
    by less than 0.1, else the scale, and is rounded again.
    """
    flat = peak_object < config.min_object_peak or peak_object == 0.0
    semantic = area_ratio if flat else peak_proposal / peak_object
    if config.rounded:
        scale = min(1.0, max(0.1, round_to_tenth(area_ratio)))
        semantic = min(1.0, round_to_tenth(semantic))
        mixed = 0.9 * scale + 0.1 * semantic if abs(scale - semantic) < 0.1 else scale
        return scale, semantic, round_to_tenth(mixed)
    scale = min(1.0, area_ratio)
    semantic = min(1.0, semantic)
    return scale, semantic, (1.0 - config.weight) * scale + config.weight * semantic


def peak_difference(probability: ProbabilityMap, mask: MaskCrop) -> float:
    """psi of Eq. 5: maximum minus minimum of the probability inside a non-empty mask, in float32."""
    inside = np.ascontiguousarray(probability.window(mask.box))
    low, high, _, _ = cv2.minMaxLoc(inside, mask.values.view(np.uint8))
    return float(np.float32(high) - np.float32(low))
