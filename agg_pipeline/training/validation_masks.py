"""Choosing the masks of the validation steps: a few masks per level, of images that are not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.evaluated_masks import EvaluatedMask, sample, targets_of, why_skipped
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.training.dataset_choice import DatasetChoice
from schemas.config import EvaluationConfig
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry

IMAGES = 12
"""Images that are read, spread over the split."""


def masks_or_note(
    masks: int, find: Callable[[int], tuple[EvaluatedMask, ...]]
) -> tuple[tuple[EvaluatedMask, ...], tuple[str, ...]]:
    """Choose masks, or say why there are none.

    Args:
        masks: masks per level; 0 for none.
        find: gives this number of masks, or raises UserError.

    Returns:
        The masks, and a note if there are none although some were wanted.
    """
    try:
        return (find(masks) if masks else ()), ()
    except UserError as error:
        return (), (f"no validation steps: {error}",)


def masks_of_evaluation_split(choice: DatasetChoice, seed: int, masks: int) -> tuple[EvaluatedMask, ...]:
    """Masks of a data set's split for evaluation.

    Args:
        choice: the data set, and the split that is trained on.
        seed: of the draw.
        masks: masks per level.

    Raises:
        UserError: the split for evaluation is trained on, or cannot be read.
    """
    name, root, split = choice
    held_out = known_dataset(name).evaluation_split
    if held_out == split:
        raise UserError(f"{name} has no split but {held_out}, which is trained on")
    return draw_masks(open_dataset(name, root, held_out), seed, masks)


def objects_of_other_images(
    choices: Sequence[DatasetChoice], datasets: Sequence[Dataset], seed: int, masks: int
) -> tuple[EvaluatedMask, ...]:
    """Objects of the evaluation splits of several data sets, without the images that are trained on.

    Args:
        choices: the data sets.
        datasets: their splits that are trained on, opened.
        seed: of the draw.
        masks: objects per data set.

    Raises:
        UserError: all images of the evaluation splits are trained on, or a split cannot be read.
    """
    trained_on: dict[tuple[str, str], set[str]] = {}
    for (name, root, _), dataset in zip(choices, datasets, strict=True):
        own = trained_on.setdefault((name, "" if known_dataset(name).built_in else root), set())
        own.update(entry.image_id for entry in dataset.entries)
    targets: list[EvaluatedMask] = []
    for (name, root), images in trained_on.items():
        held_out = open_dataset(name, root, known_dataset(name).evaluation_split)
        others = tuple(entry for entry in held_out.entries if entry.image_id not in images)
        if others:
            drawn = draw_masks(replace(held_out, entries=others), seed, masks)
            targets += [each for each in drawn if each.level == "object"]
    if not targets:
        raise UserError("all images of the evaluation splits are trained on")
    return tuple(targets)


def draw_masks(dataset: Dataset, seed: int, masks: int) -> tuple[EvaluatedMask, ...]:
    """Draw masks from a few images that are spread over a split.

    Args:
        dataset: the split.
        seed: of the draw.
        masks: masks per level.

    Raises:
        UserError: these images have no mask that can be evaluated.
    """
    step = max(1, len(dataset.entries) // IMAGES)
    found = [mask for entry in dataset.entries[::step][:IMAGES] for mask in _usable(dataset, entry)]
    if not found:
        raise UserError(
            f"{dataset.name} {dataset.split} has no mask that can be evaluated in the images that were read"
        )
    return tuple(sample(found, dataset.name, masks, seed))


def _usable(dataset: Dataset, entry: ImageEntry) -> list[EvaluatedMask]:
    """The masks of an image that can be evaluated; none if the image is unreadable."""
    try:
        record = dataset.read(entry)
    except ImageError:
        return []
    return [mask for mask in targets_of(record, EvaluationConfig()) if why_skipped(mask.subject) is None]
