"""``agg study``: the evidence that the method works, as one resumable command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from agg_pipeline.cli.options import named_root, read_toml
from agg_pipeline.cli.training import own_folder, recipe_path, resolve_recipe
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.models.model_files import describe_model
from agg_pipeline.study.run import run_steps
from agg_pipeline.study.steps import StudyConfig, steps
from agg_pipeline.study.study_report import write_study
from agg_pipeline.training.training_identity import comparable
from schemas.canonical import content_hash
from schemas.errors import UserError
from schemas.resolve import override, validated
from schemas.training import FinetuneConfig


@click.command("study")
@click.option("--data", multiple=True, help="Root of a data set as NAME:ROOT.")
@click.option("--recipe", default="full", help="full, small, or a TOML file.")
@click.option("--checkpoint", type=click.Path(dir_okay=False), help="Click model. Default: the one built in.")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed"]), help="Arithmetic of the trainings.")
@click.option("--out", required=True, help="Folder of databases, trainings and results.")
@click.option("--report", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown file.")
def group(
    data: tuple[str, ...], recipe: str, checkpoint: str | None, precision: str | None, out: str, report: Path
) -> None:
    """Proposals, trainings from several sources, ablations and evaluations. The same command again goes on."""
    config = read_config(recipe, {} if precision is None else {"precision": precision})
    roots = dict(named_root(each) for each in data)
    for name, root in roots.items():
        if not name or not root:
            raise UserError(f"--data {name or root}: it must be the name of a data set and its root, NAME:ROOT")
    if not report.suffix:
        raise UserError(
            f"--report {report}: name a file with an ending, as report.md; its figures lie in a folder beside it"
        )
    model = str(Path(checkpoint or default_checkpoint()).resolve())
    with own_folder(out) as place:
        if not report.absolute().parent.is_dir():
            raise UserError(f"--report {report}: there is no folder {report.parent}")
        made = steps(config, roots, model, place)
        try:
            run_steps(made, facts(config, roots, model), place, click.echo)
        except KeyboardInterrupt:
            click.echo("stopped; the same command goes on from there", err=True)
            sys.exit(130)
        write_study(config, roots, place, report)
    click.echo(f"{report} holds what was found")


def read_config(recipe: str, settings: dict[str, Any]) -> StudyConfig:
    """The configuration of a study by the name of its recipe, or from a TOML file; settings go before that."""
    path = recipe_path("study", recipe)
    config: StudyConfig = validated(override(StudyConfig(), _with_tuples(read_toml(path)) | settings))
    return config


def _with_tuples(written: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in written.items()}


def facts(config: StudyConfig, roots: Mapping[str, str], checkpoint: str) -> dict[str, str]:
    """What decides a study's results beside its commands: the content of model, recipe and data; UserError without."""
    _, model = describe_model(checkpoint, "", None)
    training = resolve_recipe(FinetuneConfig(), "finetune", config.recipe, {})
    found = {"model": model["sha256"], "recipe": content_hash(comparable(training))}
    used = {(name, known_dataset(name).default_split) for name in (config.objects, config.parts)}
    used |= {(name, known_dataset(name).evaluation_split) for name in config.sets}
    for name, split in sorted(used):
        found[f"{name} {split}"] = open_dataset(name, roots.get(name, ""), split).fingerprint
    return found
