"""``agg study``: the evidence that the method works, as one resumable command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
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
from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import CHECKPOINT, LOCAL_FILE, PLACE, check_root, model_file, named_root
from agg_pipeline.cli.run_log import run_log
from agg_pipeline.cli.training import own_folder
from agg_pipeline.study.study_config import StudyConfig
from schemas.canonical import content_hash
from schemas.errors import UserError
from schemas.resolve import override, validated, with_options
from schemas.training import FinetuneConfig


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
        metavar="NAME:ROOT",
        show_default="none, for demo",
        help="Root folder of a data set of the study. Can be repeated.",
    ),
)
@cloup.option_group("Model", CHECKPOINT, recipe_option("study", "full"), *config_options(RECIPES, "precision"))
@cloup.option_group(
    "Run",
    option("--out", type=PLACE, required=True, help="Folder of databases, trainings and results."),
    option(
        "--report",
        type=LOCAL_FILE,
        required=True,
        help="Markdown file that is written; its figures lie in a folder beside it.",
    ),
)
@configured
def group(
    data: tuple[str, ...], checkpoint: str | None, recipe: str, out: str, report: Path, settings: dict[str, Any]
) -> None:
    """Make proposals, train, evaluate, and write a report.

    Models are trained from several sources of masks, with ablations, and evaluated on several data sets. Run the same
    command again to resume.
    """
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.report.printed import say
    from agg_pipeline.study.run import run_study
    from agg_pipeline.study.study_report import write_study
    from agg_pipeline.study.study_steps import study_steps

    config = read_config(recipe, settings)
    roots = dict(named_root(each) for each in data)
    for name, root in roots.items():
        if not name or not root:
            raise UserError(f"--data {name or root}: give the name of a data set and its root, NAME:ROOT")
        check_root(name, root, "--data")
    if not report.suffix:
        raise UserError(
            f"--report {report}: name a file with an ending, as report.md; its figures lie in a folder beside it"
        )
    model = str(Path(model_file(checkpoint)).resolve())
    with own_folder(out) as ownership, run_log(ownership.store.url) as log:
        place = Path(ownership.store.url)
        if not report.absolute().parent.is_dir():
            raise UserError(f"--report {report}: there is no folder {report.parent}")
        made = study_steps(config, roots, model, place)
        log.begin()
        try:
            run_study(made, facts(config, roots, model), place, say)
        except KeyboardInterrupt:
            click.echo("stopped; run the same command again to resume", err=True)
            sys.exit(130)
        write_study(config, roots, place, report)
        say(closing_line(str(place), str(report)))


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

    _, model = describe_model(checkpoint, "", None)
    training = resolve_recipe(FinetuneConfig(), "finetune", config.recipe, {})
    found = {"model": model["sha256"], "recipe": content_hash(comparable(training))}
    used = {(name, known_dataset(name).default_split) for name in (config.objects, config.parts)}
    used |= {(name, known_dataset(name).evaluation_split) for name in config.sets}
    for name, split in sorted(used):
        found[f"{name} {split}"] = open_dataset(name, roots.get(name, ""), split).fingerprint
    return found
