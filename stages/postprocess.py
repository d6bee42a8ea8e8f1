"""Post-processing of proposals (Section 3.2): holes, one connected component, and the reasons to drop a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from schemas.config import MaskConfig
from schemas.crop import MaskCrop, area, iou_above
from schemas.records import Candidate, Loop, ObjectProposals, Proposal, Reject, Target
from stages.draws import index, uniforms
from stages.morphology import components, cut, fill_holes


def postprocess(loops: Sequence[Loop], config: MaskConfig, seed: int, dataset: str) -> ObjectProposals:
    """Clean the candidates of an object's loops, and drop those that ``why_dropped`` names.

    Args:
        loops: all loops of one object.
        config: configuration of post-processing.
        seed: seed of the random choice among components (released preset).
        dataset: name of the data set, part of that choice's key.

    Returns:
        The object's proposals, without complements.
    """
    target = loops[0].target
    object_mask = target.object.mask
    parts: list[Proposal] = []
    rejects: list[Reject] = []
    for loop in loops:
        for candidate in loop.candidates:
            mask = cleaned(candidate, target, config, seed, dataset)
            reason = why_dropped(mask, object_mask, [part.mask for part in parts], config)
            if reason is None:
                parts.append(Proposal(candidate.step, candidate.clicks, mask))
            else:
                rejects.append(reject(target, candidate.step, "postprocess", reason))
        if loop.ended == "no_click":
            rejects.append(reject(target, loop.ended_step, "mask_engine", "no_click"))
    return ObjectProposals(target, tuple(parts), (), tuple(rejects))


def cleaned(candidate: Candidate, target: Target, config: MaskConfig, seed: int, dataset: str) -> MaskCrop:
    """Clean the mask of a candidate.

    As far as it is configured, in this order: fill holes, cut to the object, keep one 8-connected component.

    Args:
        candidate: a mask of one of the object's loops.
        target: the object.
        config: configuration of post-processing.
        seed: seed of the random choice among components (released preset).
        dataset: name of the data set, part of that choice's key.

    Returns:
        The cleaned mask; it may be empty.
    """
    mask = candidate.mask
    if config.fill_holes:
        mask = fill_holes(mask)
    if config.cut_to_object:
        mask = cut(mask, target.object.mask)
    return one_component(mask, config, partial(component_draw, target, "part", candidate.step, seed, dataset))


def reject(target: Target, step: int | None, stage: str, reason: str) -> Reject:
    """Record something of an object that is dropped.

    Args:
        target: the object.
        step: step of its loop; None if the whole object is dropped.
        stage: stage that drops it.
        reason: one of ``schemas.tables.REASONS``.
    """
    return Reject(target.image.image_id, target.object.instance_id, step, stage, reason)


def why_dropped(mask: MaskCrop, object_mask: MaskCrop, earlier: Sequence[MaskCrop], config: MaskConfig) -> str | None:
    """Why a cleaned mask is dropped.

    Args:
        mask: the cleaned mask.
        object_mask: mask of its object.
        earlier: masks of the object that are kept already.
        config: the limits.

    Returns:
        ``empty``, ``small``, ``equals_object`` or ``duplicate``; None if the mask is kept.
    """
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
    """Draw the number in [0, 1) that decides the choice among components (released preset).

    Args:
        target: the object.
        kind: "part" or "complement".
        step: step of the mask.
        seed: seed of the run.
        dataset: name of the data set.
    """
    draw = uniforms(seed, dataset, target.image.image_id, target.object.instance_id, f"component-{kind}", step, 1)
    return float(draw[0])


def one_component(mask: MaskCrop, config: MaskConfig, draw: Callable[[], float]) -> MaskCrop:
    """Keep one 8-connected component of a mask.

    Args:
        mask: the mask; may be empty.
        config: ``component`` is "largest", or "random" for a random one of those above ``random_component_area``
            (the largest if there are none).
        draw: gives the number in [0, 1) that decides the random choice.
    """
    found = components(mask)
    if not found.areas:
        return mask
    allowed = allowed_components(found.areas, config)
    return found.mask(allowed[index(draw(), len(allowed))] if len(allowed) > 1 else allowed[0])


def allowed_components(areas: Sequence[int], config: MaskConfig) -> list[int]:
    """Numbers of the components of a mask of which one is kept.

    Args:
        areas: pixels of its components, the largest first; at least one.
        config: as for ``one_component``.
    """
    large = [number for number, pixels in enumerate(areas) if pixels > config.random_component_area]
    return large if config.component == "random" and large else [0]
