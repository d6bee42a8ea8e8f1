"""The configuration of a study: its data sets, its trainings and its sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from schemas.fields import choice, listed, number, text
from schemas.words import possible

PAPER = "paper's clicks"
RATE = ("--lr", "3e-4")
"""Learning rate of trainings of all weights, which need a lower one than LoRA."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "AGG": ("--source", "agg"),
    "GT": ("--source", "gt"),
    "GT+AGG": ("--source", "gt+agg"),
    "no table": ("--source", "agg", "--no-granularity"),
    "no LoRA": ("--source", "agg", "--no-lora", *RATE),
    "neither": ("--source", "agg", "--no-lora", "--no-granularity", *RATE),
    "scale alone": ("--source", "agg", "--granularity-definition", "scale"),
    PAPER: ("--source", "agg"),
    "root of the scale": ("--source", "agg", "--granularity-definition", "root"),
    "order loss": ("--source", "agg", "--order-weight", "1"),
}
"""Trainings: rows of Table 1, ablations of Table 3, definition of Fig. 6, proposals of the ``paper`` preset, and two
that the paper does not have."""
SOURCES = ("AGG", "GT", "GT+AGG")
"""The variants of Table 1."""


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """Which data sets a study is about, what it trains, and its sizes."""

    objects: str = text("sbd", unit="name", help="Data set from whose objects AGG makes proposals.")
    parts: str = text("partimagenet", unit="name", help="Data set with annotated parts of the same images.")
    sets: tuple[str, ...] = listed(
        ("sbd", "grabcut", "partimagenet", "pascal_part", "demo"), help="Data sets that models are evaluated on."
    )
    ablation_sets: tuple[str, ...] = listed(
        ("sbd", "partimagenet"),
        help="Those of the sets that ablations and further seeds are evaluated on: all trainings but those of Table 1.",
    )
    leave_out: tuple[str, ...] = listed(
        (),
        help="Ids of images that no table counts, because the base model has seen them under another name.",
    )
    variants: tuple[str, ...] = listed(
        tuple(VARIANTS),
        help=f"Trainings: {', '.join(VARIANTS)}. The first one is a row of Table 1: {', '.join(SOURCES)}.",
    )
    preset: Literal["paper", "parts", "released"] = choice("parts", help="Preset of the proposals.")
    rounds: int = number(1, 1, 1000, unit="interactions", help="Simulated interactions per object for the proposals.")
    recipe: str = text("study", unit="name", help="Recipe of the trainings: a name of agg finetune, or a TOML file.")
    precision: Literal["32-true", "bf16-mixed"] = choice(
        "32-true",
        option=True,
        help="Number format of the trainings. 32-true: float32. bf16-mixed: bfloat16 where that is precise enough.",
    )
    images: int = number(0, 0, unit="images", help="Images of objects and of parts that masks are made from. 0: all.")
    seeds: int = number(
        1, 1, 100, unit="trainings", help="Trainings of the first variant, each with a seed of its own."
    )
    sample: int = number(80, 1, unit="masks", help="Masks per level and set in an evaluation.")
    calibrate: int = number(40, 1, unit="parts", help="Parts from which each class gets its granularity.")
    curves: int = number(20, 1, unit="masks", help="Masks per level whose curves are drawn.")
    max_clicks: int = number(
        20, 1, 1000, unit="clicks", help="An interaction of an evaluation ends after this many clicks."
    )
    input_size: int = number(
        0, 0, 4096, unit="pixels", help="Side of the model's input in evaluations. 0: the size it was trained at."
    )
    max_reject_share: float = number(
        0.01, 0, 1, unit="share", help="An evaluation fails if a larger share of its images could not be used."
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Trainings that do not exist, and sets that are missing."""
        for name in self.variants:
            if name not in VARIANTS:
                yield "variants", f"unknown variant {name!r}; {possible(name, VARIANTS)}"
        for key in ("variants", "sets"):
            if not getattr(self, key):
                yield key, "a study has at least one"
        if self.variants and self.variants[0] not in SOURCES:
            yield "variants", f"it must begin with one of {', '.join(SOURCES)}"
        for name in self.ablation_sets:
            if name not in self.sets:
                yield "ablation_sets", f"{name} is none of the study's sets"
