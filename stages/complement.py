"""Complement expansion (Section 3.2): the rest of the object around a proposal is a proposal, too."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from schemas.config import MaskConfig
from schemas.crop import area
from schemas.numbers import round_to_tenth
from schemas.records import ObjectProposals, Proposal, Reject
from stages.morphology import minus, opened
from stages.postprocess import component_draw, one_component, reject, why_dropped


def add_complements(proposals: ObjectProposals, config: MaskConfig, seed: int, dataset: str) -> ObjectProposals:
    """Add the complement of every kept proposal inside its object, and drop those that ``why_dropped`` names.

    A complement is opened against slivers and reduced to one component. Its holes stay: filling a ring would give the
    object back. It has the step and the clicks of its proposal.

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
        mask = opened(minus(object_mask, part.mask), config.opening)
        mask = one_component(mask, config, partial(component_draw, target, "complement", part.step, seed, dataset))
        earlier = [other.mask for other in (*proposals.parts, *kept)]
        reason = why_dropped(mask, object_mask, earlier, config)
        if reason is None and round_to_tenth(area(mask) / area(object_mask)) < config.min_rounded_complement:
            reason = "small"
        if reason is None:
            kept.append(Proposal(part.step, part.clicks, mask))
        else:
            rejects.append(reject(target, part.step, "complement", reason))
    return replace(proposals, complements=tuple(kept), rejects=(*proposals.rejects, *rejects))
