"""The masks of an image that are evaluated: its objects and their annotated parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agg_pipeline.datasets.dataset import Level
from agg_pipeline.datasets.parts import part_class
from schemas.config import EvaluationConfig
from schemas.crop import MaskCrop, area, intersection
from schemas.records import ImageRecord, ImageSummary, Pixels
from stages.draws import uniforms
from stages.evaluate import Subject


@dataclass(frozen=True, eq=False)
class EvaluatedMask:
    """One mask that is evaluated.

    Attributes:
        target_id: ``image:object:level:part``; the part is 0 for the object itself. Unique in a data set.
        image: the image.
        instance_id: id of the object in its image.
        level: object or part.
        category: published class of the object; None if unknown.
        label: published name of the part; None for an object.
        class_name: class of the mask in words, such as "dog" or "dog left ear"; None if unknown.
        truth: the mask itself.
        wanted_iou: IoU at which an interaction has reached it.
        ignore: pixels ignored in the IoU and by the clicks; None for no pixel.
    """

    target_id: str
    image: ImageSummary
    instance_id: int
    level: Level
    category: str | None
    label: str | None
    class_name: str | None
    truth: MaskCrop
    wanted_iou: float
    ignore: MaskCrop | None

    def subject(self, pixels: Pixels) -> Subject:
        """What an interaction needs, with the pixels of the image."""
        return Subject(pixels, self.truth, self.wanted_iou, self.ignore)


def targets_of(record: ImageRecord, config: EvaluationConfig) -> Iterator[EvaluatedMask]:
    """The masks of an image that an evaluation asks for: each object, followed by its parts."""
    image = record.summary
    for instance in record.objects:
        if config.level != "part":
            yield EvaluatedMask(
                target_id=f"{record.image_id}:{instance.instance_id}:object:0",
                image=image,
                instance_id=instance.instance_id,
                level="object",
                category=instance.category,
                label=None,
                class_name=instance.category,
                truth=instance.mask,
                wanted_iou=config.clicks.object_target,
                ignore=record.ignore,
            )
        if config.level == "object":
            continue
        for part in instance.parts:
            yield EvaluatedMask(
                target_id=f"{record.image_id}:{instance.instance_id}:part:{part.part_id}",
                image=image,
                instance_id=instance.instance_id,
                level="part",
                category=instance.category,
                label=part.label,
                class_name=part_class(instance, part),
                truth=part.mask,
                wanted_iou=config.clicks.part_target,
                ignore=record.ignore,
            )


def why_skipped(mask: EvaluatedMask) -> str | None:
    """Why a mask cannot be evaluated.

    Returns:
        A reject reason: ``empty_object`` or, if all its pixels are ignored, ``all_ignored``. None if it can.
    """
    pixels = area(mask.truth)
    if pixels == 0:
        return "empty_object"
    ignored = 0 if mask.ignore is None else intersection(mask.truth, mask.ignore)
    return "all_ignored" if ignored == pixels else None


def sample(masks: Sequence[EvaluatedMask], dataset: str, size: int, seed: int) -> list[EvaluatedMask]:
    """Draw ``size`` masks per level.

    The draw of a mask depends on its id alone, so a larger sample contains the smaller one.

    Args:
        masks: masks to draw from.
        dataset: name of the data set, part of the random numbers' key.
        size: masks per level; all masks of a level that has fewer.
        seed: seed of the draw.

    Returns:
        The chosen masks, in the order of ``masks``.
    """
    draws: dict[str, list[tuple[float, str]]] = {}
    for mask in masks:
        draws.setdefault(mask.level, []).append((sample_draw(seed, dataset, mask.target_id), mask.target_id))
    chosen: set[str] = set()
    for draws_of_level in draws.values():
        chosen.update(target_id for _, target_id in sorted(draws_of_level)[:size])
    return [mask for mask in masks if mask.target_id in chosen]


def sample_draw(seed: int, dataset: str, target_id: str) -> float:
    """Draw the number that decides whether a mask is sampled: the masks with the smallest numbers are.

    Args:
        seed: seed of the configuration.
        dataset: name of the data set.
        target_id: id of the mask.

    Returns:
        A number in [0, 1).
    """
    return float(uniforms(seed, dataset, target_id, 0, "sample", 0, 1)[0])
