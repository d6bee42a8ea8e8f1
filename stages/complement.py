"""Complement expansion (Section 3.2): the rest of the object around a proposal is a proposal, too."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from schemas.config import MaskConfig
from schemas.crop import MaskCrop, area
from schemas.numbers import round_to_tenth
from schemas.records import ObjectProposals, Proposal, Reject, Target
from stages.morphology import components, minus, opened
from stages.postprocess import allowed_components, component_draw, one_component, reject, why_dropped


def add_complements(proposals: ObjectProposals, config: MaskConfig, seed: int, dataset: str) -> ObjectProposals:
    """Add the complement of every kept proposal inside its object, and drop those that ``why_dropped`` names.

    A complement has the step and the clicks of its proposal.

    Args:
        proposals: an object's proposals without complements.
        config: configuration of post-processing.
        seed: seed of the random choice among components (released preset).
        dataset: name of the data set, part of that choice's key.
    """
    target = proposals.target
    object_mask = target.object.mask
    kept: list[Proposal] = []
    rejects: list[Reject] = []
    for part in proposals.parts:
        mask = complement_of(part, target, config, seed, dataset)
        earlier = [other.mask for other in (*proposals.parts, *kept)]
        reason = why_dropped(mask, object_mask, earlier, config)
        if reason is None and round_to_tenth(area(mask) / area(object_mask)) < config.min_rounded_complement:
            reason = "small"
        if reason is None:
            kept.append(Proposal(part.step, part.clicks, mask))
        else:
            rejects.append(reject(target, part.step, "complement", reason))
    return replace(proposals, complements=tuple(kept), rejects=(*proposals.rejects, *rejects))


def complement_of(part: Proposal, target: Target, config: MaskConfig, seed: int, dataset: str) -> MaskCrop:
    """What a proposal leaves of its object, opened against slivers and reduced to one component.

    Its holes stay: filling a ring would give the object back.

    Args:
        part: a kept proposal of the object.
        target: the object.
        config: configuration of post-processing.
        seed: seed of the random choice among components (released preset).
        dataset: name of the data set, part of that choice's key.

    Returns:
        The complement; it may be empty.
    """
    mask = _rest(target.object.mask, part.mask, config)
    return one_component(mask, config, partial(component_draw, target, "complement", part.step, seed, dataset))


def possible_complements(object_mask: MaskCrop, part: MaskCrop, config: MaskConfig) -> list[MaskCrop]:
    """The masks of which ``add_complements`` makes one the complement of a proposal, unless it drops it.

    Args:
        object_mask: mask of the object.
        part: mask of the proposal.
        config: configuration of post-processing.

    Returns:
        One mask, or several where one of them is drawn (released preset); none if nothing of the object is left.
    """
    found = components(_rest(object_mask, part, config))
    return [found.mask(number) for number in allowed_components(found.areas, config)] if found.areas else []


def _rest(object_mask: MaskCrop, part: MaskCrop, config: MaskConfig) -> MaskCrop:
    """What a proposal leaves of its object, opened against slivers."""
    return opened(minus(object_mask, part), config.opening)
