"""Configuration of proposals and evaluation: one small frozen dataclass per stage, and presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from schemas.devices import CPU_OBJECTS, GPU_OBJECTS
from schemas.fields import LARGEST, choice, flag, listed, number, place
from schemas.numbers import BINS

Source = Literal["agg", "gt"]
Mode = Literal["none", "fixed", "per_class", "optimal", "curves", "best_of"]


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Multi-granularity loop simulation (Section 3.2, Eq. 1-2)."""

    rounds: int = number(
        1,
        1,
        1000,
        option=True,
        unit="interactions",
        help="Simulated interactions per object, each with its own clicks.",
    )
    min_negatives: int = number(
        3,
        0,
        unit="iterations",
        help="Smallest number of iterations after Y_0. The number is drawn per interaction.",
    )
    max_negatives: int = number(6, 0, 23, unit="iterations", help="Largest number of iterations after Y_0.")
    keep: Literal["all", "last"] = choice("all", help="Which of the masks Y_t become candidates: all, or the last one.")
    min_distance: float = number(
        0.05,
        0,
        1,
        unit="share",
        help="Smallest distance of a click from earlier ones, as a share of the diagonal of the object's box. "
        "0: no limit.",
    )
    max_draws: int = number(
        20, 1, unit="draws", help="Draws of a click that is far enough from earlier ones; then the loop ends."
    )
    contrast: int = number(
        1,
        1,
        option=True,
        unit="draws",
        help="Draws of each negative click; the pixel whose colour differs most from the positive click's is taken. "
        "1: any pixel, as in the paper.",
    )
    zoom: bool = flag(False, help="Make the first prediction on the region around the object, not on the whole image.")
    min_mask_area: int = number(
        0,
        0,
        unit="pixels",
        help="A step whose mask is smaller than this draws no new click. The model still runs.",
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Numbers that contradict each other."""
        if self.max_negatives < self.min_negatives:
            yield "max_negatives", f"it must be from {self.min_negatives} to 23"
        if self.contrast > self.max_draws:
            yield "contrast", f"it must be from 1 to loop.max_draws, {self.max_draws}"


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """Post-processing of proposals and complements (Section 3.2)."""

    fill_holes: bool = flag(True, help="Fill the holes of a proposal.")
    cut_to_object: bool = flag(True, help="Cut a proposal to its object.")
    component: Literal["largest", "random"] = choice(
        "largest",
        help="Which 8-connected component of a proposal is kept. random: one of those above random_component_area, "
        "as in the authors' program; the largest if fewer than two are.",
    )
    random_component_area: int = number(1500, 0, unit="pixels", help="Smallest component that random may take.")
    opening: int = number(
        3, 1, unit="pixels", help="Side of the square that opens complements. It is odd. 1: no opening."
    )
    min_area: int = number(
        400,
        1,
        unit="pixels",
        help="A mask is dropped if it has fewer pixels than this and covers less than min_area_share of its object.",
    )
    min_area_share: float = number(
        0.01,
        0,
        1,
        unit="share",
        help="A mask that covers at least this share of its object is not too small, even if it has fewer pixels than "
        "min_area.",
    )
    max_object_iou: float = number(
        0.98, 0, 1, unit="IoU", help="A mask whose IoU with its object is larger is dropped: it repeats the object."
    )
    max_proposal_iou: float = number(
        0.95,
        0,
        1,
        unit="IoU",
        help="A mask whose IoU with an earlier proposal of its object is larger is dropped: it repeats the proposal.",
    )
    min_rounded_complement: float = number(
        0.0, 0, 1, help="Smallest scale of a complement, rounded to 0.1. Complements below are dropped."
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """A square without a centre."""
        if self.opening % 2 == 0:
            yield "opening", "it must be odd"


@dataclass(frozen=True, slots=True)
class GranularityConfig:
    """Granularity estimator (Eq. 3-6)."""

    click: Literal["centre", "eroded"] = choice(
        "centre",
        help="Where the estimator clicks: in the centre of the mask, or on a random pixel of the eroded mask.",
    )
    object_prompt: bool = flag(True, help="Give the object mask to the model as its mask prompt.")
    weight: float = number(0.5, 0, 1, help="Weight of the semantic granularity against the scale, lambda of Eq. 6.")
    min_object_peak: float = number(
        0.05,
        0,
        1,
        unit="probability",
        help="Below this peak the model is flat on the object, and the scale alone gives the granularity.",
    )
    rounded: bool = flag(
        False, help="Round scale and semantic granularity to 0.1 and combine them as the authors' program does."
    )


ClickPlace = Literal["centre", "depth", "uniform"]
"""Where in an error region a simulated click lies."""


@dataclass(frozen=True, slots=True)
class ClicksConfig:
    """Simulated interaction for evaluation (protocol, section 3)."""

    max_clicks: int = number(
        20, 1, 1000, option=True, unit="clicks", help="An interaction ends after this many clicks."
    )
    object_target: float = number(
        0.9, 0, 1, option="target", unit="IoU", help="An interaction with an object succeeds at this IoU."
    )
    part_target: float = number(
        0.85, 0, 1, option="target", unit="IoU", help="An interaction with a part succeeds at this IoU."
    )
    threshold: float = number(
        0.5, 0, 1, option=True, unit="probability", help="A pixel above this probability belongs to the mask."
    )
    early_stop: bool = flag(
        True,
        option=True,
        help="End an interaction that has succeeded, and one that needs more clicks than another interaction with "
        "the same mask.",
    )
    carry_roi: bool = flag(
        False,
        option=True,
        help="Run the interactions with a mask one after the other; each starts with the region of interest that the "
        "one before it left, as in the authors' program.",
    )
    place: ClickPlace = choice(
        "centre",
        option="click-place",
        help="Where in the error region a click lies: in its centre, or drawn by its depth or uniformly, as people "
        "click less exactly.",
    )


@dataclass(frozen=True, slots=True)
class PredictorConfig:
    """Prediction around the network."""

    input_size: int = number(
        0,
        0,
        4096,
        option=True,
        unit="pixels",
        help="Side of the model's input. 0: the size that the model was trained at, except that agg eval takes 672 for "
        "davis with a model of 448.",
    )
    flip: bool = flag(False, option=True, help="Average each prediction with that of the mirrored image.")
    bins: Literal["nearest", "released"] = choice(
        "nearest",
        help="How a granularity chooses its row of the table: the nearest one, or as in the authors' program.",
    )
    device: str = place(
        "auto", help="Where the model runs: auto, cpu, cuda or cuda:N. auto: on a GPU, or on the CPU if there is none."
    )
    dtype: Literal["float32", "bfloat16"] = choice(
        "float32", option=True, help="Number format that the model computes in."
    )
    threads: int = number(1, 1, 1024, unit="threads", help="Threads of each model process on the CPU.")


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How the work is cut."""

    images_per_shard: int = number(
        32,
        1,
        option=True,
        unit="images",
        help="Images per shard. Each worker has two shards in progress; if there are too few, workers share them. "
        "Resuming keeps finished shards.",
    )
    batch_objects: int = number(
        0,
        0,
        option=True,
        unit="objects",
        help=f"Most objects in one batch of the model. 0: {CPU_OBJECTS} on the CPU, {GPU_OBJECTS} on a GPU.",
    )
    batch_pixels: int = number(
        8_000_000,
        1,
        unit="pixels",
        help="Largest sum of image pixels over the objects of a batch; bounds its memory. A shard keeps the pixels of "
        "images up to twice this sum, and reads other images again for each model stage.",
    )

    @property
    def objects(self) -> int:
        """Largest number of objects in one batch; that of the CPU where no device was chosen yet."""
        return self.batch_objects or CPU_OBJECTS


@dataclass(frozen=True, slots=True)
class ProposalsConfig:
    """Everything that decides the content of a proposal database, except data and model."""

    preset: Literal["paper", "parts", "released"] = choice(
        "paper", help="Preset that the other keys start from. The option is --preset."
    )
    source: Source = choice(
        "agg",
        help="Where masks come from: AGG's simulated clicks (agg proposals run) or annotated parts (agg proposals "
        "annotate). The command sets it.",
    )
    seed: int = number(0, 0, LARGEST, option=True, help="Seed of every random choice.")
    min_box_fill: float = number(
        0.0, 0, 1, unit="share", help="Objects that fill a smaller share of their box are left out. 0: none."
    )
    loop: LoopConfig = field(default_factory=LoopConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    granularity: GranularityConfig = field(default_factory=GranularityConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """Everything that decides the result of an evaluation, except data and model."""

    preset: Literal["paper", "released"] = choice(
        "paper", help="Preset that the other keys start from. The option is --preset."
    )
    seed: int = number(0, 0, LARGEST, option=True, help="Seed of every random choice.")
    level: Literal["all", "object", "part"] = choice(
        "all", option=True, help="Which masks are evaluated. all: objects, and parts if the set has them."
    )
    sample: int = number(0, 0, option=True, unit="masks", help="Masks per level, drawn by the seed. 0: all masks.")
    mode: Mode = choice(
        "none",
        help="none: without granularity. fixed: with the key granularity. per_class: with one granularity per class. "
        "optimal: the best of 0.1 ... 1.0 for each mask, chosen by the ground truth. curves: as optimal, with all ten "
        "interactions run to their end. best_of: without granularity, the best of several first clicks. The options "
        "are --granularity, --granularity-from, --curves and --best-of.",
    )
    granularity: float = number(
        1.0, 0, 1, help="Granularity of every prediction in the mode fixed. The option is --granularity."
    )
    granularities: tuple[tuple[str, float], ...] = listed(
        (),
        help="Granularity by level:class, and by level for other classes, in the mode per_class. Only "
        "--granularity-from can set it.",
    )
    attempts: int = number(
        10,
        1,
        1000,
        unit="interactions",
        help="Interactions with different first clicks in the mode best_of. The option is --best-of.",
    )
    clicks: ClicksConfig = field(default_factory=ClicksConfig)
    predictor: PredictorConfig = field(default_factory=lambda: PredictorConfig(flip=True))
    # An image takes so long that larger shards would leave workers without work in the end.
    batch: BatchConfig = field(default_factory=lambda: BatchConfig(images_per_shard=8))

    @property
    def interactions(self) -> int:
        """Interactions with each mask."""
        return {"optimal": BINS, "curves": BINS, "best_of": self.attempts}.get(self.mode, 1)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Values that contradict the mode, or that it does not use."""
        mode, default = self.mode, EvaluationConfig()
        if mode == "curves" and self.clicks.early_stop:
            yield "clicks.early_stop", "it must be false in the mode 'curves'"
        if mode != "fixed" and self.granularity != default.granularity:
            yield "granularity", f"it has no effect in the mode {mode!r}, only in 'fixed'"
        if mode == "per_class" and not self.granularities:
            yield "granularities", "the mode 'per_class' needs them"
        if mode != "per_class" and self.granularities:
            yield "granularities", f"they have no effect in the mode {mode!r}, only in 'per_class'"
        if mode != "best_of" and self.attempts != default.attempts:
            yield "attempts", f"it has no effect in the mode {mode!r}, only in 'best_of'"
        if mode in ("none", "fixed", "per_class") and self.clicks.carry_roi and self.preset != "released":
            yield (
                "clicks.carry_roi",
                f"it has no effect in the mode {mode!r}: it is about several interactions with the same mask "
                "(optimal, curves, best_of)",
            )
