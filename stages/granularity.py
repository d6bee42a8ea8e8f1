"""Granularity estimator (Section 3.2, Eq. 3-6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from schemas.config import GranularityConfig
from schemas.crop import MaskCrop, ProbabilityMap, area, enclosing
from schemas.numbers import granularity_bin, round_to_tenth
from schemas.records import Click, Estimate, Interaction, Pixels, Proposal, Query
from stages.click_model import ClickModel
from stages.draws import drawn_pixels, uniforms
from stages.morphology import centre, eroded

ChooseClick = Callable[[Query], tuple[int, int]]
"""Query -> (row, col) of the estimator's positive click in the mask."""


def choose_click(config: GranularityConfig, seed: int, dataset: str) -> ChooseClick:
    """How the estimator's click is chosen.

    Args:
        config: ``click`` is "centre" for the centre of the mask, or "eroded" for a random pixel of the eroded mask
            (released preset).
        seed: seed of the random choice.
        dataset: name of the data set, part of that choice's key.
    """

    def centre_of(query: Query) -> tuple[int, int]:
        return centre(query.part.mask)

    def random_pixel(query: Query) -> tuple[int, int]:
        purpose, step = _draw_key(query)
        image_id, instance_id = query.target.image.image_id, query.target.object.instance_id
        draw = uniforms(seed, dataset, image_id, instance_id, purpose, step, 1)
        return next(drawn_pixels(_core(query.part.mask), draw))

    return centre_of if config.click == "centre" else random_pixel


def _core(mask: MaskCrop) -> MaskCrop:
    """The mask, eroded by ceil(0.1 sqrt(area)) iterations; the mask itself if nothing is left."""
    core = eroded(mask, math.ceil(0.1 * math.sqrt(area(mask))))
    return core if area(core) else mask


def _draw_key(query: Query) -> tuple[str, int]:
    """Purpose and step of the random numbers for a query."""
    if isinstance(query.part, Proposal):
        return f"estimator-{query.kind}", query.part.step
    return f"estimator-{query.kind}-{query.part.part_id}", 0


def estimate(
    queries: Sequence[Query],
    pixels: Sequence[Pixels],
    model: ClickModel,
    config: GranularityConfig,
    choose: ChooseClick,
) -> list[Estimate]:
    """Estimate the granularities of a batch of masks with one forward (M of Eq. 3).

    Args:
        queries: masks to estimate; none is empty.
        pixels: pixels of each mask's image.
        model: click model.
        config: configuration of the estimator.
        choose: chooses the click in a mask.

    Returns:
        The estimates in the order of ``queries``.
    """
    clicks = [Click(*choose(query), positive=True) for query in queries]
    interactions = [_interaction(*each, config) for each in zip(queries, pixels, clicks, strict=True)]
    predictions = model.predict(interactions)
    return [
        _measured(query, click, prediction.probability, config)
        for query, click, prediction in zip(queries, clicks, predictions, strict=True)
    ]


def _interaction(query: Query, pixels: Pixels, click: Click, config: GranularityConfig) -> Interaction:
    object_mask = query.target.object.mask
    prompt = object_mask if config.object_prompt else None
    # Only the peaks inside the proposal and the object are needed.
    wanted = enclosing(object_mask.box, query.part.mask.box)
    return Interaction(pixels, (click,), prompt=prompt, focus=prompt, wanted=wanted)


def _measured(query: Query, click: Click, probability: ProbabilityMap, config: GranularityConfig) -> Estimate:
    object_mask = query.target.object.mask
    mask = query.part.mask
    if config.rounded and query.kind == "part" and round_to_tenth(area(mask) / area(object_mask)) > 1.0:
        # The authors' program replaces a proposal that outgrows its object with the object.
        mask = object_mask
    peak_proposal = peak_difference(probability, mask)
    peak_object = peak_difference(probability, object_mask)
    scale, semantic, granularity = combine(area(mask) / area(object_mask), peak_proposal, peak_object, config)
    number = granularity_bin(granularity)
    return Estimate(query, mask, click, peak_proposal, peak_object, scale, semantic, granularity, number)


def combine(
    area_ratio: float, peak_proposal: float, peak_object: float, config: GranularityConfig
) -> tuple[float, float, float]:
    """Combine areas and peak differences into a granularity (Eq. 4-6), in float64.

    With ``config.rounded`` (released preset) scale and semantic are rounded to 0.1, the scale is at least 0.1, and the
    granularity, rounded again, is 0.9 scale + 0.1 semantic where they differ by less than 0.1, else the scale.

    Args:
        area_ratio: area of the mask over area of its object.
        peak_proposal: peak difference inside the mask.
        peak_object: peak difference inside the object; below ``config.min_object_peak`` the semantic granularity is
            the area ratio.
        config: configuration of the estimator.

    Returns:
        (scale, semantic, granularity), each in [0, 1].
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
    """Psi of Eq. 5: maximum minus minimum of the probability inside a non-empty mask, in float32."""
    inside = np.ascontiguousarray(probability.window(mask.box))
    low, high, _, _ = cv2.minMaxLoc(inside, mask.values.view(np.uint8))
    return float(np.float32(high) - np.float32(low))
