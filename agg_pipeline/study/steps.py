"""What a study consists of: its configuration, and the commands that it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agg_pipeline.database.contents import MANIFEST
from agg_pipeline.datasets.registry import known_dataset
from agg_pipeline.evaluation.results import SUMMARY
from agg_pipeline.training.training_folder import ADAPTER, MODEL
from schemas.errors import UserError
from schemas.fields import number

PAPER = "paper's clicks"
RATE = ("--lr", "3e-4")
"""Of trainings of all weights, which need a lower one."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "AGG": ("--source", "agg"),
    "GT": ("--source", "gt"),
    "GT+AGG": ("--source", "gt+agg"),
    "no table": ("--source", "agg", "--no-granularity"),
    "no LoRA": ("--source", "agg", "--no-lora", *RATE),
    "neither": ("--source", "agg", "--no-lora", "--no-granularity", *RATE),
    "scale alone": ("--source", "agg", "--granularity-definition", "scale"),
    PAPER: ("--source", "agg"),
}
"""Trainings: rows of Table 1, ablations of Table 3, the definition of Fig. 6, and proposals of the ``paper`` preset."""
SOURCES = ("AGG", "GT", "GT+AGG")
"""The variants of Table 1."""
DATABASE = f"database/{MANIFEST}"


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """The sizes of a study.

    objects: set from whose objects AGG makes proposals. parts: set with annotated parts of the same images. sets: that
    models are evaluated on. ablation_sets: those of them for what is no row of Table 1: ablations and further seeds.
    leave_out: images (ids) that are in no table: the base model has seen them, though they are no file of its training.
    preset, rounds: of the proposals. variants: trainings, names of ``VARIANTS``. images: of ``objects`` and ``parts``,
    0 for all. recipe: of the trainings, name or path; precision: their arithmetic. seeds: the first variant is trained
    with so many. sample: masks of each level and set. calibrate: parts from which classes get their granularity.
    curves: masks of each level whose curves are drawn. max_clicks, input_size, max_reject_share: of the evaluations,
    the input's side in pixels, 0 for the checkpoint's.
    """

    objects: str = "sbd"
    parts: str = "partimagenet"
    sets: tuple[str, ...] = ("sbd", "grabcut", "partimagenet", "pascal_part", "demo")
    ablation_sets: tuple[str, ...] = ("sbd", "partimagenet")
    leave_out: tuple[str, ...] = ()
    variants: tuple[str, ...] = tuple(VARIANTS)
    preset: Literal["paper", "parts", "released"] = "parts"
    rounds: int = number(1, 1, 1000)
    recipe: str = "study"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    images: int = number(0, 0)
    seeds: int = number(1, 1, 100)
    sample: int = number(80, 1)
    calibrate: int = number(40, 1)
    curves: int = number(20, 1)
    max_clicks: int = number(20, 1)
    input_size: int = number(0, 0, 4096)
    max_reject_share: float = number(0.01, 0, 1)


@dataclass(frozen=True)
class Step:
    """A command of the study. arguments: of ``agg``. folder: of what it leaves, results: files in it, without which it
    is not finished. resumable: takes --resume."""

    name: str
    arguments: tuple[str, ...]
    folder: str
    results: tuple[str, ...]
    resumable: bool = False


def has_table(variant: str) -> bool:
    """Whether a variant's models take a granularity."""
    return "--no-granularity" not in VARIANTS[variant]


def learnt(variant: str) -> str:
    """The file that a variant's training leaves."""
    return MODEL if "--no-lora" in VARIANTS[variant] else ADAPTER


def trained_name(variant: str, seed: int = 0) -> str:
    """Name of a training and of its results' folders."""
    name = variant.replace(" ", "-").replace("'", "")
    return name if seed == 0 else f"{name}-seed-{seed}"


def trainings(config: StudyConfig) -> list[tuple[str, int]]:
    """Variant and seed of every training, in order."""
    first = config.variants[0]
    return [(variant, 0) for variant in config.variants] + [(first, seed) for seed in range(1, config.seeds)]


def steps(config: StudyConfig, roots: Mapping[str, str], checkpoint: str, out: Path) -> list[Step]:
    """All commands, in order. roots: of the data sets, by name. UserError for what does not fit together."""
    unknown = [name for name in config.variants if name not in VARIANTS]
    if unknown:
        raise UserError(f"unknown variant {unknown[0]!r}; possible: {', '.join(VARIANTS)}")
    for name in (config.objects, config.parts, *config.sets):
        if not known_dataset(name).built_in and name not in roots:
            raise UserError(f"the study needs the root of {name}: --data {name}:FOLDER")
    for key, value in (("variants", config.variants), ("sets", config.sets)):
        if not value:
            raise UserError(f"{key} is empty; a study has at least one")
    if config.variants[0] not in SOURCES:
        raise UserError(f"variants begins with {config.variants[0]!r}; it must with one of {', '.join(SOURCES)}")
    for name in set(config.ablation_sets) - set(config.sets):
        raise UserError(f"ablation_sets names {name}, which is none of the study's sets")
    size = ("--input-size", str(config.input_size)) if config.input_size else ()
    model = ("--checkpoint", checkpoint, *size)
    proposals, annotated, plain = out / "proposals", out / "annotated", out / "proposals-paper"

    def source(name: str) -> tuple[str, ...]:
        return "--dataset", name, "--data", roots.get(name, "")

    limit = ("--limit-images", str(config.images)) if config.images else ()
    run = ("proposals", "run", *source(config.objects), *model, *limit, "--rounds", str(config.rounds))
    made = [
        Step("proposals", (*run, "--preset", config.preset), str(proposals), (DATABASE,)),
        Step(
            "annotated", ("proposals", "annotate", *source(config.parts), *model, *limit), str(annotated), (DATABASE,)
        ),
    ]
    for variant, seed in trainings(config):
        if variant == PAPER:
            made.append(Step("proposals of the paper's clicks", (*run, "--preset", "paper"), str(plain), (DATABASE,)))
        databases: dict[Path, str] = {}
        if "gt" not in VARIANTS[variant]:
            databases[plain if variant == PAPER else proposals] = config.objects
        if "agg" not in VARIANTS[variant]:
            databases[annotated] = config.parts
        named = tuple(text for path in databases for text in ("--proposals", str(path)))
        data = tuple(text for name in sorted(set(databases.values())) for text in _data(name, roots))
        arguments = ("finetune", *named, *data, "--checkpoint", checkpoint, "--recipe", config.recipe)
        arguments += ("--precision", config.precision)
        folder = str(out / "trained" / trained_name(variant, seed))
        arguments += (*VARIANTS[variant], "--seed", str(seed))
        made.append(Step(f"train {trained_name(variant, seed)}", arguments, folder, (learnt(variant),), resumable=True))
        for name in config.sets if variant in SOURCES and seed == 0 else config.ablation_sets:
            made += _evaluations(config, variant, seed, name, source(name), model, out)
    return made


def _data(name: str, roots: Mapping[str, str]) -> tuple[str, ...]:
    return ("--data", f"{name}:{roots[name]}") if name in roots else ()


def _evaluations(
    config: StudyConfig, variant: str, seed: int, name: str, source: tuple[str, ...], model: tuple[str, ...], out: Path
) -> list[Step]:
    """The evaluations of a training on a set."""
    trained = out / "trained" / trained_name(variant, seed) / learnt(variant)
    folder = out / "evaluated" / name / trained_name(variant, seed)
    limits = ("--max-clicks", str(config.max_clicks), "--no-flip", "--max-reject-share", str(config.max_reject_share))
    how = (*source, *limits, "--sample", str(config.sample))
    title = f"evaluate {trained_name(variant, seed)} on {name}"
    if "--no-lora" in VARIANTS[variant]:
        mode = ("--granularity", "optimal") if has_table(variant) else ()
        arguments = ("eval", "run", *how, "--checkpoint", str(trained), *model[2:], *mode)
        return [Step(title, arguments, str(folder / ("optimal" if mode else "none")), (SUMMARY,))]
    adapted = (*model, "--adapter", str(trained))
    if not has_table(variant):
        return [Step(title, ("eval", "run", *how, *adapted), str(folder / "none"), (SUMMARY,))]
    first = (variant, seed) == (config.variants[0], 0)
    only = ["optimal", "whole"] if not first else ["base", "best-of-10", "optimal", "whole"]
    if name == config.parts and variant in SOURCES and seed == 0:
        only.append("by-class")
    chosen = tuple(text for arm in only for text in ("--only", arm))
    arguments = ("eval", "adapted", *how, *adapted, *chosen, "--calibrate", str(config.calibrate))
    made = [Step(title, arguments, str(folder), tuple(f"{arm}/{SUMMARY}" for arm in only))]
    if first:
        arguments = ("eval", "run", *source, *limits, "--sample", str(config.curves), *adapted, "--curves")
        title = f"curves of {trained_name(variant)} on {name}"
        made.append(Step(title, arguments, str(folder / "curves-of-masks"), (SUMMARY,)))
    return made
