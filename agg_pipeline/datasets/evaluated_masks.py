"""The masks of an image that are evaluated: its objects, and the annotated parts of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agg_pipeline.datasets.dataset import Level
from agg_pipeline.datasets.parts import part_class
from schemas.config import EvaluationConfig
from schemas.crop import MaskCrop, area, intersection
from schemas.records import ImageRecord, ObjectMask
from stages.draws import uniforms
from stages.evaluate import Subject


@dataclass(frozen=True, eq=False)
class EvaluatedMask:
    """A mask that is evaluated. label: of a part, as published. kind: its class in words, None if unknown."""

    target_id: str
    image: ImageRecord
    instance_id: int
    level: Level
    category: str | None
    label: str | None
    kind: str | None
    subject: Subject


def targets_of(record: ImageRecord, config: EvaluationConfig) -> Iterator[EvaluatedMask]:
    """The masks of an image that are evaluated: each object, and then its parts."""
    for thing in record.objects:
        if config.level != "part":
            yield _target(record, thing, "object", "0", thing.mask, None, thing.category, config.clicks.object_target)
        if config.level != "object":
            for part in thing.parts:
                kind = part_class(thing, part)
                yield _target(
                    record, thing, "part", part.part_id, part.mask, part.label, kind, config.clicks.part_target
                )


def _target(
    record: ImageRecord,
    thing: ObjectMask,
    level: Level,
    part_id: str,
    mask: MaskCrop,
    label: str | None,
    kind: str | None,
    iou: float,
) -> EvaluatedMask:
    subject = Subject(record.pixels, mask, iou, record.ignore)
    target_id = f"{record.image_id}:{thing.instance_id}:{level}:{part_id}"
    return EvaluatedMask(target_id, record, thing.instance_id, level, thing.category, label, kind, subject)


def why_skipped(subject: Subject) -> str | None:
    """Why a mask cannot be evaluated (a reject reason): it is empty, or all of it is ignored; None if it can."""
    pixels = area(subject.truth)
    if pixels == 0:
        return "empty_object"
    ignored = 0 if subject.ignore is None else intersection(subject.truth, subject.ignore)
    return "all_ignored" if ignored == pixels else None


def sample(masks: Sequence[EvaluatedMask], dataset: str, size: int, seed: int) -> list[EvaluatedMask]:
    """``size`` masks of each level, in the order given.

    A mask's draw depends on its id alone, so that a larger sample holds the smaller one.
    """
    draws: dict[str, list[tuple[float, str]]] = {}
    for mask in masks:
        draws.setdefault(mask.level, []).append((sample_draw(seed, dataset, mask.target_id), mask.target_id))
    chosen = {target_id for of_level in draws.values() for _, target_id in sorted(of_level)[:size]}
    return [mask for mask in masks if mask.target_id in chosen]


def sample_draw(seed: int, dataset: str, target_id: str) -> float:
    """The number in [0, 1) of a mask: the masks with the smallest numbers are the sample."""
    return float(uniforms(seed, dataset, target_id, 0, "sample", 0, 1)[0])
