"""Configuration of training: what fine-tuning and pre-training share, and what each has of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from schemas.fields import number

TrainingSource = Literal["agg", "gt", "gt+agg", "object"]


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Augmentation for training (protocol, section 5). Probabilities and shares lie in [0, 1], angles in degrees.

    size: side of the crop, pixels. view: "crop" scales the image (min_scale ... max_scale) and cuts a crop out of it,
    as in the protocol; "zoom" squeezes the whole image (with probability whole_image) or a region into it, as the
    predictor does: the box of the object or, with probability on_mask, of the mask, grown by min_zoom ... max_zoom, at
    least min_side pixels, moved by up to jitter of its sides. flips: horizontal, vertical or both, or horizontal alone.
    keep_background: share of the crops without a pixel of the mask that are not drawn again. min_area: of a mask in the
    crop, pixels; below, there is nothing to find.
    """

    size: int = number(448, 32, 4096)
    view: Literal["crop", "zoom"] = "crop"
    min_scale: float = number(0.75, 0.01, 100)
    max_scale: float = number(1.25, 0.01, 100)
    whole_image: float = number(0.5, 0, 1)
    on_mask: float = number(0.0, 0, 1)
    min_zoom: float = number(1.0, 1, 100)
    max_zoom: float = number(2.0, 1, 100)
    min_side: int = number(64, 1, 100_000)
    jitter: float = number(0.2, 0, 1)
    flip: float = number(0.5, 0, 1)
    flips: Literal["all", "horizontal"] = "all"
    turn_90: float = number(0.5, 0, 1)
    shift_and_rotate: float = number(0.75, 0, 1)
    max_shift: float = number(0.03, 0, 1)
    max_rotation: float = number(3.0, 0, 180)
    brightness_and_contrast: float = number(0.75, 0, 1)
    max_brightness: float = number(0.25, 0, 1)
    min_contrast: float = number(-0.15, -1, 10)
    max_contrast: float = number(0.4, -1, 10)
    colour_shift: float = number(0.75, 0, 1)
    max_colour_shift: float = number(10.0, 0, 255)
    keep_background: float = number(0.01, 0, 1)
    min_area: int = number(80, 0)


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How weights are learnt, whatever it is that is learnt.

    batch: samples of a step; accumulate: parts in which a batch goes through the network. click_decay: each further
    initial click is so many times as likely. max_rounds: of iterative clicks before the step. lr: the highest learning
    rate. devices: that share each batch. threads: of each process on a CPU. loaders: processes that prepare samples, 0
    for none.
    """

    seed: int = number(0, 0, 2**63 - 1)
    epochs: int = number(55, 1)
    batch: int = number(32, 1)
    accumulate: int = number(1, 1)
    click_decay: float = number(0.8, 0.01, 1)
    max_rounds: int = number(3, 0, 23)
    lr: float = number(5e-5, 0, 1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    device: str = "cpu"
    devices: int = number(1, 1, 1024)
    threads: int = number(1, 1, 1024)
    loaders: int = number(1, 0, 1024)


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """Granularity-controllable learning (Section 3.3): everything but data and model that decides the weights.

    source: masks to learn from: AGG's proposals, annotated parts, both, or objects alone (all with the objects).
    sampling: inverse to the frequency of granularities within each image, or over the whole database.
    granularity_definition: Eq. 6, or the scale alone (Fig. 6). An epoch draws one mask of every image.
    decay_epoch: after it the learning rate is lr * decay. lora, granularity: the two components of Table 3; without
    LoRA all weights are trained. lora_targets: projections that LoRA updates. table_std: of the normal distribution
    that the granularity vectors start from; table_lr: their learning rate, 0 for that of all.
    """

    recipe: str = "paper"
    source: TrainingSource = "agg"
    sampling: Literal["image", "global"] = "image"
    granularity_definition: Literal["both", "scale"] = "both"
    decay_epoch: int = number(50, 0)
    decay: float = number(0.1, 0, 1)
    lora: bool = True
    granularity: bool = True
    rank: int = number(8, 1, 1024)
    lora_targets: Literal["qk", "qv"] = "qk"
    table_std: float = number(1.0, 0, 10)
    table_lr: float = number(0.0, 0, 10)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """Learning to segment whole objects from clicks: everything but data and first weights that decides the weights.

    architecture: of a model that starts from nothing. epoch: samples of an epoch. warm_up: epochs in which the
    learning rate grows; then it falls along a cosine. weight_decay: of matrices (AdamW). focal_epoch: from it on the
    loss is the normalised focal loss; before, cross-entropy and Dice. rounds_epoch: from it on there are iterative
    clicks. paste: share of the samples in which objects are pasted on another one's image. parted: of those with
    several objects, the share in which clicks are to part one from a mask prompt of all. max_norm: of the gradient, 0
    for no limit.
    """

    recipe: str = "small-sets"
    architecture: str = "xtiny"
    epoch: int = number(2000, 1)
    warm_up: float = number(0.5, 0)
    weight_decay: float = number(0.05, 0, 1)
    focal_epoch: float = number(20.0, 0)
    rounds_epoch: float = number(20.0, 0)
    paste: float = number(0.15, 0, 1)
    parted: float = number(0.0, 0, 1)
    max_norm: float = number(1.0, 0)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
