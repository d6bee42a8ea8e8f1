"""Configuration: one small frozen dataclass per stage, two presets, and the hash of what is resolved."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from schemas.errors import UserError

Preset = Literal["paper", "released"]
Source = Literal["agg", "gt"]


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Multi-granularity loop simulation (Section 3.2, Eq. 1-2).

    min_negatives, max_negatives: range of the number N of iterations after Y_0, drawn per object.
    keep: every Y_t is a candidate, or only the last one. min_distance: smallest distance of a new click from every
    earlier one, as a share of the diagonal of the object's box; 0 for no check. max_draws: tries per click.
    min_mask_area: no new click at a step where the mask has fewer pixels (the forward still runs).
    """

    min_negatives: int = 3
    max_negatives: int = 6
    keep: Literal["all", "last"] = "all"
    min_distance: float = 0.05
    max_draws: int = 20
    min_mask_area: int = 0


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """Post-processing of proposals and complements.

    fill_holes, cut_to_object: applied to proposals. component: the largest 8-connected component, or the release's
    choice (with two or more: a random one of those above random_component_area, else the largest).
    opening: side of the square that opens complements, 1 for none. min_area: pixels, or min_area_share of the object
    if that is less. max_object_iou, max_proposal_iou: above, the mask repeats the object or an earlier proposal.
    min_rounded_complement: smallest scale, rounded to 0.1, of a complement.
    """

    fill_holes: bool = True
    cut_to_object: bool = True
    component: Literal["largest", "random"] = "largest"
    random_component_area: int = 1500
    opening: int = 3
    min_area: int = 400
    min_area_share: float = 0.01
    max_object_iou: float = 0.98
    max_proposal_iou: float = 0.95
    min_rounded_complement: float = 0.0


@dataclass(frozen=True, slots=True)
class GranularityConfig:
    """Granularity estimator (Eq. 3-6).

    click: the centre of the mask, or a random pixel of the eroded mask. object_prompt: the object mask is the mask
    prompt. weight: lambda of Eq. 6. min_object_peak: below, the model is flat on the object and the scale alone counts.
    rounded: scale and semantic are rounded to 0.1 and combined as the release's training does.
    """

    click: Literal["centre", "eroded"] = "centre"
    object_prompt: bool = True
    weight: float = 0.5
    min_object_peak: float = 0.05
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Simulated interaction for evaluation. target: IoU at which an interaction has succeeded.

    threshold: a pixel above this probability is in the mask. early_stop: end an interaction that has succeeded.
    """

    max_clicks: int = 20
    target: float = 0.9
    threshold: float = 0.5
    early_stop: bool = True


@dataclass(frozen=True, slots=True)
class PredictorConfig:
    """Prediction around the network. input_size: side in pixels, 0 for the size that the checkpoint was trained at."""

    input_size: int = 0
    flip: bool = False
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How the work is cut. batch_pixels: image pixels summed over the objects of a batch (bounds its memory)."""

    images_per_shard: int = 32
    batch_objects: int = 8
    batch_pixels: int = 8_000_000


@dataclass(frozen=True, slots=True)
class ProposalsConfig:
    """Everything but data and model that decides the content of a proposal database.

    source: where the masks come from, AGG's simulated clicks or annotated parts (ground truth).
    min_box_fill: objects that fill a smaller share of their box are left out, 0 for none.
    """

    preset: Preset = "paper"
    source: Source = "agg"
    seed: int = 0
    min_box_fill: float = 0.0
    loop: LoopConfig = field(default_factory=LoopConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    granularity: GranularityConfig = field(default_factory=GranularityConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)


PRESETS: dict[str, ProposalsConfig] = {
    "paper": ProposalsConfig(),
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


def override(config: Any, changes: dict[str, Any], where: str = "") -> Any:
    """A copy of a (nested) frozen dataclass with some fields replaced; unknown keys and wrong types are UserErrors.

    changes: nested like the dataclass, as read from TOML. where: prefix of the key in messages.
    """
    hints = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for key, value in changes.items():
        name = f"{where}{key}"
        if key not in hints:
            raise UserError(f"unknown configuration key {name!r}; possible here: {', '.join(sorted(hints))}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise UserError(f"configuration key {name!r} is a table, not {value!r}")
            values[key] = override(current, value, f"{name}.")
        else:
            values[key] = _checked(name, value, current, hints[key])
    return dataclasses.replace(config, **values)


def _checked(name: str, value: Any, current: Any, hint: Any) -> Any:
    choices = getattr(hint, "__args__", None)
    if choices and value not in choices:
        raise UserError(f"configuration key {name!r} is {value!r}; possible: {', '.join(map(repr, choices))}")
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(current):
        raise UserError(f"configuration key {name!r} is {value!r}; a value of type {type(current).__name__} is needed")
    return value


def _limits(config: ProposalsConfig) -> dict[str, tuple[float, float, float]]:
    """Value, smallest and largest legal value of every number."""
    loop, masks, granularity, batch = config.loop, config.masks, config.granularity, config.batch
    inf = float("inf")
    return {
        "seed": (config.seed, 0, 2**63 - 1),
        "min_box_fill": (config.min_box_fill, 0, 1),
        "loop.min_negatives": (loop.min_negatives, 0, inf),
        "loop.max_negatives": (loop.max_negatives, loop.min_negatives, 23),
        "loop.min_distance": (loop.min_distance, 0, 1),
        "loop.max_draws": (loop.max_draws, 1, inf),
        "loop.min_mask_area": (loop.min_mask_area, 0, inf),
        "masks.random_component_area": (masks.random_component_area, 0, inf),
        "masks.opening": (masks.opening, 1, inf),
        "masks.min_area": (masks.min_area, 1, inf),
        "masks.min_area_share": (masks.min_area_share, 0, 1),
        "masks.max_object_iou": (masks.max_object_iou, 0, 1),
        "masks.max_proposal_iou": (masks.max_proposal_iou, 0, 1),
        "masks.min_rounded_complement": (masks.min_rounded_complement, 0, 1),
        "granularity.weight": (granularity.weight, 0, 1),
        "granularity.min_object_peak": (granularity.min_object_peak, 0, 1),
        "predictor.input_size": (config.predictor.input_size, 0, 4096),
        "predictor.threads": (config.predictor.threads, 1, 1024),
        "batch.images_per_shard": (batch.images_per_shard, 1, inf),
        "batch.batch_objects": (batch.batch_objects, 1, inf),
        "batch.batch_pixels": (batch.batch_pixels, 1, inf),
    }


def validated(config: ProposalsConfig) -> ProposalsConfig:
    """The configuration itself if every number lies in its range; UserError names the first that does not."""
    if config.masks.opening % 2 == 0:
        raise UserError(f"configuration key 'masks.opening' is {config.masks.opening}; it must be odd")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", config.predictor.device):
        raise UserError(
            f"configuration key 'predictor.device' is {config.predictor.device!r}; possible: cpu, cuda, cuda:N"
        )
    for name, (value, low, high) in _limits(config).items():
        if not low <= value <= high:
            bound = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
            raise UserError(f"configuration key {name!r} is {value}; it must be {bound}")
    return config


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """Hex blake2b (128 bits) of the canonical JSON of a value."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def flatten(value: Any, where: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys; lists are leaves."""
    if not isinstance(value, dict):
        return {where: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{where}.{key}" if where else str(key))
    return flat


def differences(old: Any, new: Any) -> list[str]:
    """One line for each dotted key whose value differs: ``key: old -> new``."""
    before, after = flatten(old), flatten(new)
    missing = object()
    lines = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key, missing), after.get(key, missing)
        if a != b:
            lines.append(f"{key}: {_shown(a, missing)} -> {_shown(b, missing)}")
    return lines


def _shown(value: Any, missing: object) -> str:
    text = "(absent)" if value is missing else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
