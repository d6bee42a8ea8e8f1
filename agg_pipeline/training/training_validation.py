"""Validation steps: which masks they take, and what the model makes of their first click at every granularity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.evaluated_masks import sample, targets_of, why_skipped
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.training_datasets import DatasetChoice
from agg_pipeline.training.validation_pictures import Validation, ValidationMask
from schemas.config import ClicksConfig, EvaluationConfig, PredictorConfig
from schemas.errors import ImageError, UserError
from schemas.numbers import GRANULARITIES
from schemas.records import ImageEntry
from stages.evaluate import Start, evaluate

IMAGES = 12
"""Images that are read, spread over the split."""
FIRST_CLICK = ClicksConfig(max_clicks=1, early_stop=False)


def masks_or_note(
    masks: int, find: Callable[[int], tuple[ValidationMask, ...]]
) -> tuple[tuple[ValidationMask, ...], tuple[str, ...]]:
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


def masks_of_evaluation_split(choice: DatasetChoice, seed: int, masks: int) -> tuple[ValidationMask, ...]:
    """Masks of a data set's split for evaluation.

    Args:
        choice: the data set, and the split that is trained on.
        seed: of the draw.
        masks: masks per level.

    Returns:
        The masks.

    Raises:
        UserError: the split for evaluation is trained on, or cannot be read.
    """
    name, root, split = choice
    held_out = known_dataset(name).evaluation_split
    if held_out == split:
        raise UserError(f"the split for evaluation, {name} {held_out}, is trained on")
    return draw_masks(open_dataset(name, root, held_out), seed, masks)


def objects_of_other_images(
    choices: Sequence[DatasetChoice], datasets: Sequence[Dataset], seed: int, masks: int
) -> tuple[ValidationMask, ...]:
    """Objects of the evaluation splits of several data sets, without the images that are trained on.

    Args:
        choices: the data sets.
        datasets: their splits that are trained on, opened.
        seed: of the draw.
        masks: objects per data set.

    Returns:
        The objects.

    Raises:
        UserError: all images of the evaluation splits are trained on, or a split cannot be read.
    """
    trained_on: dict[tuple[str, str], set[str]] = {}
    for (name, root, _), dataset in zip(choices, datasets, strict=True):
        own = trained_on.setdefault((name, "" if known_dataset(name).built_in else root), set())
        own.update(entry.image_id for entry in dataset.entries)
    found: list[ValidationMask] = []
    for (name, root), images in trained_on.items():
        held_out = open_dataset(name, root, known_dataset(name).evaluation_split)
        others = tuple(entry for entry in held_out.entries if entry.image_id not in images)
        if others:
            drawn = draw_masks(replace(held_out, entries=others), seed, masks)
            found += [each for each in drawn if each.target.level == "object"]
    if not found:
        raise UserError("all images of the evaluation splits are trained on")
    return tuple(found)


def draw_masks(dataset: Dataset, seed: int, masks: int) -> tuple[ValidationMask, ...]:
    """Draw masks from a few images that are spread over a split.

    Args:
        dataset: the split.
        seed: of the draw.
        masks: masks per level.

    Returns:
        The masks; fewer if these images have fewer.

    Raises:
        UserError: these images have no mask that can be evaluated.
    """
    step = max(1, len(dataset.entries) // IMAGES)
    found = [mask for entry in dataset.entries[::step][:IMAGES] for mask in _usable(dataset, entry)]
    if not found:
        raise UserError(
            f"{dataset.name} {dataset.split} has no mask that can be evaluated in the images that were read"
        )
    chosen = {target.target_id for target in sample([mask.target for mask in found], dataset.name, masks, seed)}
    return tuple(mask for mask in found if mask.target.target_id in chosen)


def _usable(dataset: Dataset, entry: ImageEntry) -> list[ValidationMask]:
    """The masks of an image that can be evaluated; none if the image is unreadable."""
    try:
        record = dataset.read(entry)
    except ImageError:
        return []
    targets = targets_of(record, EvaluationConfig())
    return [ValidationMask(target, record.pixels) for target in targets if why_skipped(target) is None]


def validate(network: SimpleClick, masks: Sequence[ValidationMask], config: PredictorConfig) -> Validation:
    """Predict the validation masks from their first click at every granularity.

    Args:
        network: the model, with or without a granularity table.
        masks: the validation masks.
        config: threads and arithmetic; the input size is the network's.

    Returns:
        The predictions and their IoU.
    """
    has_granularity = network.adapter is not None and network.adapter.table is not None
    granularities: tuple[float | None, ...] = GRANULARITIES if has_granularity else (None,)
    model = Predictor(network, replace(config, input_size=network.input_size))
    starts = [Start(granularity) for granularity in granularities]
    clicks, predicted, ious = [], [], []
    for mask in masks:
        (traces,) = evaluate([mask.target.subject(mask.pixels)], [starts], model, FIRST_CLICK)
        clicks.append(traces[0].steps[0].click)
        predicted.append(tuple(trace.first for trace in traces))
        ious.append([trace.steps[0].iou for trace in traces])
    return Validation(tuple(clicks), granularities, tuple(predicted), np.array(ious))
