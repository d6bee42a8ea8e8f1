"""Configuration of training: what fine-tuning and pre-training share, and what each has of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from schemas.fields import LARGEST, choice, flag, number, place, text

SMALLEST_SIZE, LARGEST_SIZE = 32, 4096
"""Sides of the crops that a model learns from, in pixels."""

TrainingSource = Literal["agg", "gt", "gt+agg", "object"]
GranularityDefinition = Literal["both", "scale", "root"]


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Augmentation for training (protocol, section 5)."""

    size: int = number(
        448,
        SMALLEST_SIZE,
        LARGEST_SIZE,
        option=True,
        unit="pixels",
        help="Side of the crops that the model learns from.",
    )
    view: Literal["crop", "zoom"] = choice(
        "crop",
        help="crop: scale the image and cut a crop out of it, as in the protocol. zoom: resize the whole image, or a "
        "region around the object or the mask, as the predictor does.",
    )
    min_scale: float = number(0.75, 0.01, 100, unit="factor", help="Smallest scale of the image (view crop).")
    max_scale: float = number(1.25, 0.01, 100, unit="factor", help="Largest scale of the image (view crop).")
    whole_image: float = number(0.5, 0, 1, unit="probability", help="Take the whole image (view zoom).")
    on_mask: float = number(
        0.0, 0, 1, unit="probability", help="Take the region around the mask, not around the object (view zoom)."
    )
    min_zoom: float = number(
        1.0, 1, 100, unit="factor", help="Smallest region, as a multiple of the box that it is around (view zoom)."
    )
    max_zoom: float = number(
        2.0, 1, 100, unit="factor", help="Largest region, as a multiple of the box that it is around (view zoom)."
    )
    min_side: int = number(64, 1, 100_000, unit="pixels", help="Smallest side of a region (view zoom).")
    jitter: float = number(
        0.2, 0, 1, unit="share", help="Largest shift of a region, as a share of its sides (view zoom)."
    )
    flip: float = number(0.5, 0, 1, unit="probability", help="Mirror the crop.")
    flips: Literal["all", "horizontal"] = choice(
        "all", help="all: mirror horizontally, vertically or both. horizontal: horizontally alone."
    )
    turn_90: float = number(0.5, 0, 1, unit="probability", help="Turn the crop by a multiple of 90 degrees.")
    shift_and_rotate: float = number(0.75, 0, 1, unit="probability", help="Shift and rotate the crop.")
    max_shift: float = number(0.03, 0, 1, unit="share", help="Largest shift, as a share of the side.")
    max_rotation: float = number(3.0, 0, 180, unit="degrees", help="Largest rotation.")
    brightness_and_contrast: float = number(0.75, 0, 1, unit="probability", help="Change brightness and contrast.")
    max_brightness: float = number(0.25, 0, 1, unit="share", help="Largest change of brightness.")
    min_contrast: float = number(-0.15, -1, 10, unit="share", help="Smallest change of contrast.")
    max_contrast: float = number(0.4, -1, 10, unit="share", help="Largest change of contrast.")
    colour_shift: float = number(0.75, 0, 1, unit="probability", help="Shift the three colours.")
    max_colour_shift: float = number(10.0, 0, 255, unit="levels", help="Largest shift of a colour, of 255 levels.")
    keep_background: float = number(
        0.01, 0, 1, unit="share", help="Share of the crops without a pixel of the mask that are kept, not drawn again."
    )
    min_area: int = number(
        80, 0, unit="pixels", help="A crop whose mask is smaller has nothing to find: it counts as background."
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Ranges whose ends are in the wrong order."""
        for name in ("scale", "zoom", "contrast"):
            low, high = (getattr(self, f"{end}_{name}") for end in ("min", "max"))
            if low > high:
                yield f"min_{name}", f"it must be at most max_{name}, {high}"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How weights are learnt, in fine-tuning and pre-training alike."""

    seed: int = number(0, 0, LARGEST, option=True, help="Seed of every random choice.")
    epochs: int = number(55, 1, option=True, unit="epochs", help="Number of epochs.")
    batch: int = number(32, 1, option=True, unit="samples", help="Samples per step.")
    accumulate: int = number(
        1,
        1,
        option=True,
        unit="parts",
        help="Split each batch into this many parts, add up their gradients, and make one step. More parts need less "
        "memory.",
    )
    click_decay: float = number(
        0.8, 0.01, 1, unit="factor", help="Each further initial click is this many times as likely as the one before."
    )
    max_rounds: int = number(3, 0, 23, unit="clicks", help="Largest number of iterative clicks before a step.")
    lr: float = number(5e-5, 0, 1, option=True, unit="rate", help="Highest learning rate.")
    precision: Literal["auto", "32-true", "bf16-mixed"] = choice(
        "32-true",
        option=True,
        help="Number format of the training. 32-true: float32. bf16-mixed: bfloat16 where that is precise enough. "
        "auto: bf16-mixed on a GPU that has bfloat16, else 32-true.",
    )
    device: str = place(
        "auto",
        help="Where the training runs: auto, cpu, cuda or cuda:N. auto: on a GPU, or on the CPU if there is none.",
    )
    devices: int = number(
        1, 1, 1024, option=True, unit="devices", help="Number of processes (cpu) or GPUs (cuda) that share each batch."
    )
    threads: int = number(1, 1, 1024, option=True, unit="threads", help="Threads of each process on the CPU.")
    loaders: int = number(
        1,
        0,
        1024,
        option=True,
        unit="processes",
        help="Processes per device that prepare samples. 0: the training process prepares them.",
    )


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """Granularity-controllable learning (Section 3.3): everything that decides the weights, except data and model."""

    recipe: str = text("paper", help="Name of the recipe that the other keys come from. The option is --recipe.")
    source: TrainingSource = choice(
        "agg",
        option=True,
        help="Masks to learn from, beside the objects. agg: AGG's proposals. gt: annotated parts. gt+agg: both. "
        "object: none.",
    )
    sampling: Literal["image", "global"] = choice(
        "image",
        option=True,
        help="Where the frequency of a granularity is counted: within an image (image), or in the whole database "
        "(global). Masks are drawn inversely to it.",
    )
    granularity_definition: GranularityDefinition = choice(
        "both",
        option=True,
        help="Granularity of a mask. both: scale and semantic granularity (Eq. 6). scale: the scale alone (Fig. 6). "
        "root: the square root of the scale, which compares lengths instead of areas.",
    )
    decay_epoch: int = number(50, 0, unit="epochs", help="From this epoch on the learning rate is lr * decay.")
    decay: float = number(0.1, 0, 1, unit="factor", help="What the learning rate is multiplied with after decay_epoch.")
    lora: bool = flag(True, option=True, help="Train LoRA (Table 3). Without LoRA, all weights are trained.")
    granularity: bool = flag(True, option=True, help="Train the granularity table (Table 3).")
    rank: int = number(
        8, 1, 1024, option=True, unit="dimensions", help="Rank of LoRA: the inner dimension of its two matrices."
    )
    lora_targets: Literal["qk", "qv"] = choice(
        "qk",
        option=True,
        words=("q,k", "q,v"),
        help="Projections of the attention that LoRA updates: query and key (q,k), or query and value (q,v).",
    )
    table_std: float = number(
        1.0, 0, 10, help="Standard deviation of the normal distribution that the granularity vectors start from."
    )
    table_lr: float = number(0.0, 0, 10, unit="rate", help="Learning rate of the granularity vectors. 0: the key lr.")
    order_weight: float = number(
        0.0,
        0,
        100,
        option=True,
        unit="factor",
        help="Weight of the order loss: the share of the mask at a lower granularity, after the same clicks, that lies "
        "outside of the mask. 0: none.",
    )
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def problems(self) -> Iterator[tuple[str, str]]:
        """An order loss without granularities."""
        if self.order_weight and not self.granularity:
            yield "order_weight", "it must be 0 where no granularity is trained"


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """Learning to segment whole objects from clicks: everything that decides the weights, except data and model."""

    recipe: str = text("small-sets", help="Name of the recipe that the other keys come from. The option is --recipe.")
    architecture: str = text(
        "xtiny", option=True, unit="name", help="Architecture of a model that is trained from scratch."
    )
    epoch: int = number(2000, 1, unit="samples", help="Samples per epoch.")
    warm_up: float = number(
        0.5, 0, unit="epochs", help="Time in which the learning rate grows; then it falls along a cosine."
    )
    weight_decay: float = number(0.05, 0, 1, help="Weight decay of matrices (AdamW).")
    focal_epoch: float = number(
        20.0,
        0,
        unit="epochs",
        help="From this epoch on the loss is the normalised focal loss; before, cross-entropy and Dice.",
    )
    rounds_epoch: float = number(20.0, 0, unit="epochs", help="From this epoch on there are iterative clicks.")
    paste: float = number(
        0.15, 0, 1, unit="share", help="Share of the samples in which objects are pasted on another image."
    )
    parted: float = number(
        0.0,
        0,
        1,
        unit="share",
        help="Share of the samples with several objects in which clicks separate one object from a mask prompt of "
        "all of them.",
    )
    max_norm: float = number(1.0, 0, help="Largest norm of the gradient. 0: no limit.")
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
