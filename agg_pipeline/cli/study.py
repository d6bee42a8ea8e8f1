"""``agg study``: the evidence that the method works, as one resumable command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloup

from agg_pipeline.cli.config_options import (
    config_options,
    configured,
    read_toml,
    recipe_names,
    recipe_option,
    recipe_path,
    resolve_recipe,
)
from agg_pipeline.cli.dry_run import NOTHING_WRITTEN, print_config, print_lines
from agg_pipeline.cli.last_words import last_words
from agg_pipeline.cli.model_options import CHECKPOINT, model_file
from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import check_root
from agg_pipeline.cli.places import LOCAL_FILE, PLACE, named_root
from agg_pipeline.cli.run_log import run_log
from agg_pipeline.cli.training import local_folder, own_folder
from agg_pipeline.storage.user_path import real_path
from agg_pipeline.study.study_config import StudyConfig
from schemas.canonical import content_hash
from schemas.errors import UserError
from schemas.resolve import override, validated, with_options
from schemas.training import FinetuneConfig
from schemas.words import duration, plural

if TYPE_CHECKING:
    from agg_pipeline.study.study_steps import StudyStep


def read_config(recipe: str, settings: Mapping[str, Any]) -> StudyConfig:
    """Recipe (a name, or a TOML file) < command line.

    Args:
        recipe: its name or file.
        settings: values by the name of their option.

    Raises:
        UserError: the recipe, a key or a value is not possible.
    """
    # Unlike a training's, a study's key "recipe" is not the name of the file that it is read from.
    written = read_toml(recipe_path("study", recipe))
    return validated(with_options(override(StudyConfig(), written), settings))


RECIPES = {name: read_config(name, {}) for name in recipe_names("study")}


@cloup.command(
    "study",
    epilog=examples(
        "agg study --recipe small --out runs/study --report runs/study.md",
        "agg study --data sbd:~/sbd --data partimagenet:~/parts --recipe mine.toml --out runs/mine --report mine.md",
    ),
)
@cloup.option_group(
    "Data set",
    option(
        "--data",
        type=PLACE,
        multiple=True,
        metavar="NAME:FOLDER",
        show_default="none; demo has no files",
        help="Name and root folder of a data set of the study. Can be repeated.",
    ),
)
@cloup.option_group("Model", CHECKPOINT, recipe_option("study", "full"), *config_options(RECIPES, "precision"))
@cloup.option_group(
    "Run",
    option(
        "--out",
        type=PLACE,
        metavar="FOLDER",
        required=True,
        help="Folder, on this machine, of databases, trainings and results.",
    ),
    option(
        "--report",
        type=LOCAL_FILE,
        required=True,
        help="Markdown file that is written; its figures lie in a folder beside it.",
    ),
    option(
        "--dry-run",
        is_flag=True,
        help="Print the configuration, and which steps are done and which are left; write nothing.",
    ),
)
@configured
def group(
    data: tuple[str, ...],
    checkpoint: str | None,
    recipe: str,
    out: str,
    report: Path,
    dry_run: bool,
    settings: dict[str, Any],
) -> None:
    """Make proposals, train, evaluate, and write a report.

    Models are trained from several sources of masks, with ablations, and evaluated on several data sets. Run the same
    command again to resume.
    """
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.report.printed import say
    from agg_pipeline.study.run import finished_steps, run_study
    from agg_pipeline.study.study_report import write_study
    from agg_pipeline.study.study_steps import study_steps

    config = read_config(recipe, settings)
    roots = dict(named_root(each) for each in data)
    for name, root in roots.items():
        if not name or not root:
            raise UserError(f"--data {name or root}: give the name of a data set and its root folder as NAME:FOLDER")
        check_root(name, root)
    if len(roots) < len(data):
        raise UserError("--data is given twice for the same data set; give each data set once")
    unused = sorted(set(roots) - {config.objects, config.parts, *config.sets})
    if unused:
        raise UserError(f"--data names {unused[0]!r}, which recipe {recipe} does not use; leave it out")
    if not report.suffix:
        raise UserError(f"--report {report} has no ending; name a Markdown file, for example {report}.md")
    model = str(real_path(model_file(checkpoint)))
    if dry_run:
        place = local_folder(out)
        if report.absolute().parent != place:
            _check_report(report)
        made = study_steps(config, roots, model, place)
        print_config(config)
        print_lines(study_lines(config, made, finished_steps(made, facts(config, roots, model), place)))
        return
    with own_folder(out) as ownership, run_log(ownership.store.url) as log:
        place = Path(ownership.store.url)
        _check_report(report)
        made = study_steps(config, roots, model, place)
        log.begin()
        try:
            run_study(made, facts(config, roots, model), place, say)
        except KeyboardInterrupt:
            last_words("stopped; run the same command again to resume")
            sys.exit(130)
        write_study(config, roots, place, report)
        say(closing_line(str(place), str(report)))


def _check_report(report: Path) -> None:
    """UserError if the report cannot be written at the end, which may be days away."""
    if not report.absolute().parent.is_dir():
        raise UserError(f"--report {report}: the folder {report.parent} does not exist; make it, or name another file")
    for place, is_right, what in ((report, Path.is_file, "file"), (report.with_suffix(""), Path.is_dir, "folder")):
        if os.path.lexists(place) and not is_right(place):
            raise UserError(f"--report {report}: {place} is no {what}; name another file")


def study_lines(config: StudyConfig, made: Sequence[StudyStep], finished: Mapping[str, float]) -> list[str]:
    """The steps of a study, those that are finished, and the sizes of its evaluations.

    Args:
        config: of the study.
        made: all its steps.
        finished: seconds of the finished steps, by name.
    """
    from agg_pipeline.study.study_steps import trainings

    left = len(made) - len(finished)
    variants = f"{', '.join(config.variants)}; {plural(config.seeds, 'seed')} of the first"
    lines = [
        f"trainings: {len(trainings(config))} ({variants})",
        f"evaluations: on {', '.join(config.sets)}, {plural(config.sample, 'mask')} per level, "
        f"at most {plural(config.max_clicks, 'click')}",
        f"to do: {left} of {plural(len(made), 'step')}",
    ]
    for number, step in enumerate(made, start=1):
        state = f"finished in {duration(finished[step.name])}" if step.name in finished else "to do"
        lines.append(f"[{number} of {len(made)}] {step.name}: {state}")
    if left:
        lines.append("time: not estimated, because most steps need databases and models that earlier steps make")
    return [*lines, NOTHING_WRITTEN]


def facts(config: StudyConfig, roots: Mapping[str, str], checkpoint: str) -> dict[str, str]:
    """What decides a study's results beside its commands: hashes of model, recipe and data.

    Args:
        config: the study's configuration.
        roots: root folders of the data sets, by name.
        checkpoint: file of the click model.

    Raises:
        UserError: one of them cannot be read.
    """
    from agg_pipeline.datasets.registry import known_dataset, open_dataset
    from agg_pipeline.models.model_files import describe_model
    from agg_pipeline.training.training_folder import comparable
    from agg_pipeline.training.training_processes import choose_devices

    _, model = describe_model(checkpoint, "", None)
    recipe = resolve_recipe(FinetuneConfig(), "finetune", config.recipe, {})
    training, _ = choose_devices(recipe.training)
    found = {"model": model["sha256"], "recipe": content_hash(comparable(replace(recipe, training=training)))}
    used = {(name, known_dataset(name).default_split) for name in (config.objects, config.parts)}
    used |= {(name, known_dataset(name).evaluation_split) for name in config.sets}
    for name, split in sorted(used):
        found[f"{name} {split}"] = open_dataset(name, roots.get(name, ""), split).fingerprint
    return found
