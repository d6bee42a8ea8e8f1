"""The steps of a study: which commands it consists of, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agg_pipeline.datasets.registry import known_dataset
from agg_pipeline.evaluation.arms import ARMS
from agg_pipeline.study.study_config import PAPER, SOURCES, VARIANTS, StudyConfig
from agg_pipeline.training.training_folder import ADAPTER, MODEL
from schemas.errors import UserError


@dataclass(frozen=True)
class StudyStep:
    """A step of the study: one command, which makes a database, trains or evaluates.

    Attributes:
        name: what the study calls it.
        arguments: of ``agg``, without --out.
        folder: its output folder.
        learnt: the file that a training leaves; "" for another step.
        modes: the mode of each evaluation, by the folder of its results in the output folder; empty for another step.
    """

    name: str
    arguments: tuple[str, ...]
    folder: str
    learnt: str = ""
    modes: Mapping[str, str] = field(default_factory=dict)


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


def study_steps(config: StudyConfig, roots: Mapping[str, str], checkpoint: str, out: Path) -> list[StudyStep]:
    """All steps, in order.

    Args:
        config: a validated configuration.
        roots: root folders of the data sets, by name.
        checkpoint: file of the click model.
        out: output folder of the study.

    Returns:
        The steps; later ones read what earlier ones write.

    Raises:
        UserError: a data set is unknown, or its root is missing.
    """
    for name in (config.objects, config.parts, *config.sets):
        if not known_dataset(name).built_in and name not in roots:
            raise UserError(f"the study needs the root folder of {name}; give it as --data {name}:FOLDER")
    size = ("--input-size", str(config.input_size)) if config.input_size else ()
    model = ("--checkpoint", checkpoint, *size)
    proposals, annotated, plain = out / "proposals", out / "annotated", out / "proposals-paper"

    def source(name: str) -> tuple[str, ...]:
        return "--dataset", name, "--data", roots.get(name, "")

    limit = ("--limit-images", str(config.images)) if config.images else ()
    run = ("proposals", "run", *source(config.objects), *model, *limit, "--rounds", str(config.rounds))
    made = [
        StudyStep("proposals", (*run, "--preset", config.preset), str(proposals)),
        StudyStep("annotated", ("proposals", "annotate", *source(config.parts), *model, *limit), str(annotated)),
    ]
    for variant, seed in trainings(config):
        if variant == PAPER:
            made.append(StudyStep("proposals of the paper's clicks", (*run, "--preset", "paper"), str(plain)))
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
        made.append(StudyStep(f"train {trained_name(variant, seed)}", arguments, folder, learnt(variant)))
        for name in config.sets if variant in SOURCES and seed == 0 else config.ablation_sets:
            made += _evaluations(config, variant, seed, name, source(name), model, out)
    return made


def _data(name: str, roots: Mapping[str, str]) -> tuple[str, ...]:
    return ("--data", f"{name}:{roots[name]}") if name in roots else ()


def _evaluations(
    config: StudyConfig, variant: str, seed: int, name: str, source: tuple[str, ...], model: tuple[str, ...], out: Path
) -> list[StudyStep]:
    """The evaluations of a training on a set."""
    trained = out / "trained" / trained_name(variant, seed) / learnt(variant)
    folder = out / "evaluated" / name / trained_name(variant, seed)
    limits = ("--max-clicks", str(config.max_clicks), "--no-flip", "--max-reject-share", str(config.max_reject_share))
    how = (*source, *limits, "--sample", str(config.sample))
    title = f"evaluate {trained_name(variant, seed)} on {name}"
    if "--no-lora" in VARIANTS[variant]:
        mode = "optimal" if has_table(variant) else "none"
        granularity = ("--granularity", mode) if has_table(variant) else ()
        arguments = ("eval", "run", *how, "--checkpoint", str(trained), *model[2:], *granularity)
        return [StudyStep(title, arguments, str(folder / mode), modes={".": mode})]
    fine_tuned = (*model, "--adapter", str(trained))
    if not has_table(variant):
        return [StudyStep(title, ("eval", "run", *how, *fine_tuned), str(folder / "none"), modes={".": "none"})]
    first = (variant, seed) == (config.variants[0], 0)
    only = ["optimal", "whole"] if not first else ["base", "best-of-10", "optimal", "whole"]
    if name == config.parts and variant in SOURCES and seed == 0:
        only.append("by-class")
    chosen = tuple(text for arm in only for text in ("--only", arm))
    arguments = ("eval", "adapted", *how, *fine_tuned, *chosen, "--calibrate", str(config.calibrate))
    modes = {arm: ARMS[arm].mode for arm in only}
    made = [StudyStep(title, arguments, str(folder), modes=modes)]
    if first:
        arguments = ("eval", "run", *source, *limits, "--sample", str(config.curves), *fine_tuned, "--curves")
        title = f"curves of {trained_name(variant)} on {name}"
        made.append(StudyStep(title, arguments, str(folder / "curves-of-masks"), modes={".": "curves"}))
    return made
