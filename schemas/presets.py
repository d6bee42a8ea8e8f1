"""The configurations that --preset names: the paper's, and that of the authors' program."""

from __future__ import annotations

from schemas.config import (
    ClicksConfig,
    EvaluationConfig,
    GranularityConfig,
    LoopConfig,
    MaskConfig,
    PredictorConfig,
    ProposalsConfig,
)

EVALUATION_PRESETS: dict[str, EvaluationConfig] = {
    "paper": EvaluationConfig(),
    "released": EvaluationConfig(
        preset="released", clicks=ClicksConfig(carry_roi=True), predictor=PredictorConfig(flip=True, bins="released")
    ),
}

PRESETS: dict[str, ProposalsConfig] = {
    "paper": ProposalsConfig(),
    # Clicks that meet more annotated parts; measured in docs/results/benchmarks.md.
    "parts": ProposalsConfig(preset="parts", loop=LoopConfig(contrast=8, zoom=True)),
    "released": ProposalsConfig(
        preset="released",
        min_box_fill=0.08,
        loop=LoopConfig(min_negatives=2, max_negatives=4, keep="last", min_distance=0.0, min_mask_area=400),
        masks=MaskConfig(
            fill_holes=False,
            cut_to_object=False,
            component="random",
            opening=1,
            min_area=1,
            min_area_share=1.0,
            max_object_iou=1.0,
            max_proposal_iou=1.0,
            min_rounded_complement=0.2,
        ),
        granularity=GranularityConfig(click="eroded", object_prompt=False, min_object_peak=0.0, rounded=True),
        predictor=PredictorConfig(flip=True),
    ),
}
