"""One validation step: a model's masks after the first click, per granularity, by the evaluator's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.simpleclick import SimpleClick
from schemas.config import ClicksConfig, PredictorConfig
from schemas.crop import MaskCrop
from schemas.numbers import GRANULARITIES
from schemas.records import Click
from stages.evaluate import Start, evaluate

FIRST_CLICK = ClicksConfig(max_clicks=1, early_stop=False)


@dataclass(frozen=True, eq=False)
class Validation:
    """Predictions for T validation masks at G granularities after one click.

    Attributes:
        clicks: the click per validation mask.
        granularities: the G granularities, 0.1 to 1.0; (None,) for a model without granularity.
        masks: predicted masks, T times G.
        ious: (T, G) float64, their IoU with the ground truth.
    """

    clicks: tuple[Click, ...]
    granularities: tuple[float | None, ...]
    masks: tuple[tuple[MaskCrop, ...], ...]
    ious: NDArray[np.float64]


def validate(network: SimpleClick, targets: Sequence[EvaluatedMask], config: PredictorConfig) -> Validation:
    """Predict the validation masks from their first click at every granularity.

    Args:
        network: the model, with or without a granularity table.
        targets: the validation masks.
        config: device, threads and arithmetic; the input size is the network's.
    """
    has_granularity = network.adapter is not None and network.adapter.table is not None
    granularities: tuple[float | None, ...] = GRANULARITIES if has_granularity else (None,)
    model = Predictor(network, replace(config, input_size=network.input_size))
    starts = [Start(granularity) for granularity in granularities]
    clicks, masks, ious = [], [], []
    for target in targets:
        (traces,) = evaluate([target.subject], [starts], model, FIRST_CLICK)
        clicks.append(traces[0].steps[0].click)
        masks.append(tuple(trace.first for trace in traces))
        ious.append([trace.steps[0].iou for trace in traces])
    return Validation(tuple(clicks), granularities, tuple(masks), np.array(ious))
