"""Post-processing of proposals (Section 3.2): holes, one connected part, and the reasons to drop a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from schemas.config import MaskConfig
from schemas.crop import MaskCrop, area, iou_above
from schemas.records import Loop, ObjectProposals, Proposal, Reject, Target
from stages.draws import index, uniforms
from stages.morphology import components, cut, fill_holes


def postprocess(loops: Sequence[Loop], config: MaskConfig, seed: int, dataset: str) -> ObjectProposals:
    """Clean every candidate of an object's loops and drop what is empty, small, the object, or a repetition.

    Cleaning, in this order, as configured: fill holes, cut to the object, keep one 8-connected component.
    seed, dataset: for the release's random choice among components.
    """
    target = loops[0].target
    parts: list[Proposal] = []
    rejects: list[Reject] = []
    for loop in loops:
        for candidate in loop.candidates:
            mask = candidate.mask
            if config.fill_holes:
                mask = fill_holes(mask)
            if config.cut_to_object:
                mask = cut(mask, target.object.mask)
            mask = one_component(mask, config, partial(component_draw, target, "part", candidate.step, seed, dataset))
            reason = why_dropped(mask, target.object.mask, [part.mask for part in parts], config)
            if reason is None:
                parts.append(Proposal(candidate.step, candidate.clicks, mask))
            else:
                rejects.append(reject(target, candidate.step, "postprocess", reason))
        if loop.ended == "no_click":
            rejects.append(reject(target, loop.ended_step, "mask_engine", "no_click"))
    return ObjectProposals(target, tuple(parts), (), tuple(rejects))


def reject(target: Target, step: int | None, stage: str, reason: str) -> Reject:
    """The record of something dropped of this object."""
    return Reject(target.image.image_id, target.object.instance_id, step, stage, reason)


def why_dropped(mask: MaskCrop, object_mask: MaskCrop, earlier: Sequence[MaskCrop], config: MaskConfig) -> str | None:
    """The reason to drop a cleaned mask, or None to keep it. earlier: the kept proposals of the object."""
    pixels = area(mask)
    if pixels == 0:
        return "empty"
    if pixels < min(config.min_area, config.min_area_share * area(object_mask)):
        return "small"
    if iou_above(mask, object_mask, config.max_object_iou):
        return "equals_object"
    if any(iou_above(mask, other, config.max_proposal_iou) for other in earlier):
        return "duplicate"
    return None


def component_draw(target: Target, kind: str, step: int, seed: int, dataset: str) -> float:
    """The number in [0, 1) that decides the release's choice among components."""
    draw = uniforms(seed, dataset, target.image.image_id, target.object.instance_id, f"component-{kind}", step, 1)
    return float(draw[0])


def one_component(mask: MaskCrop, config: MaskConfig, draw: Callable[[], float]) -> MaskCrop:
    """The 8-connected component to keep: the largest, or the release's choice, decided by ``draw()`` in [0, 1)."""
    found = components(mask)
    if not found.areas:
        return mask
    if config.component == "random" and len(found.areas) > 1:
        large = [n for n, pixels in enumerate(found.areas) if pixels > config.random_component_area]
        if large:
            return found.mask(large[index(draw(), len(large))])
    return found.mask(0)
