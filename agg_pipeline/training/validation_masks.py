"""Looking at a model while it learns: first masks at every granularity, by the evaluator's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.evaluated_masks import EvaluatedMask, sample, targets_of, why_skipped
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.simpleclick import SimpleClick
from schemas.config import ClicksConfig, EvaluationConfig, PredictorConfig
from schemas.crop import MaskCrop
from schemas.errors import ImageError, UserError
from schemas.numbers import GRANULARITIES
from schemas.records import Click, ImageEntry
from stages.evaluate import Start, evaluate

IMAGES = 12
FIRST_CLICK = ClicksConfig(max_clicks=1, early_stop=False)


@dataclass(frozen=True, eq=False)
class Look:
    """What the model gives for the validation masks after one click. clicks: of each target. granularities: of the
    columns, (None,) for a model without them. masks: of each target and column. ious: (targets, columns)."""

    clicks: tuple[Click, ...]
    granularities: tuple[float | None, ...]
    masks: tuple[tuple[MaskCrop, ...], ...]
    ious: NDArray[np.float64]


def validation_targets(dataset: Dataset, masks: int, seed: int) -> tuple[EvaluatedMask, ...]:
    """So many masks of each level, drawn by the seed from a few images that are spread over the set.

    UserError if these images have no mask that can be evaluated.
    """
    step = max(1, len(dataset.entries) // IMAGES)
    found = [mask for entry in dataset.entries[::step][:IMAGES] for mask in _usable(dataset, entry)]
    if not found:
        raise UserError(
            f"{dataset.name} {dataset.split} has no mask that can be evaluated in the images that were read"
        )
    return tuple(sample(found, dataset.name, masks, seed))


def _usable(dataset: Dataset, entry: ImageEntry) -> list[EvaluatedMask]:
    """The masks of an image that can be evaluated; none if it cannot be read."""
    try:
        record = dataset.read(entry)
    except ImageError:
        return []
    return [mask for mask in targets_of(record, EvaluationConfig()) if why_skipped(mask.subject) is None]


def look(network: SimpleClick, targets: Sequence[EvaluatedMask], config: PredictorConfig) -> Look:
    """The masks after the first click at each granularity."""
    controlled = network.adapter is not None and network.adapter.table is not None
    columns: tuple[float | None, ...] = GRANULARITIES if controlled else (None,)
    model = Predictor(network, replace(config, input_size=network.input_size))
    starts = [Start(granularity) for granularity in columns]
    clicks, masks, ious = [], [], []
    for target in targets:
        (traces,) = evaluate([target.subject], [starts], model, FIRST_CLICK)
        clicks.append(traces[0].steps[0].click)
        masks.append(tuple(trace.first for trace in traces))
        ious.append([trace.steps[0].iou for trace in traces])
    return Look(tuple(clicks), columns, tuple(masks), np.array(ious))
