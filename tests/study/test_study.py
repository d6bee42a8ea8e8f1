"""``agg study``: its steps, resuming, and its report. Commands are replaced by what they leave, written by hand."""

import json
import subprocess
from pathlib import Path

import pytest

from agg_pipeline import database, sharded
from agg_pipeline.chain import ShardTask
from agg_pipeline.cli_study import read_config
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.proposals import finish
from agg_pipeline.rows import tables
from agg_pipeline.shard import load, run_complement, run_granularity, run_mask_engine, run_postprocess
from agg_pipeline.storage import Store
from agg_pipeline.study.plan import StudyConfig, steps
from schemas.config import EvaluationConfig, ProposalsConfig
from schemas.resolve import override
from tests.e2e.commands import error_of, invoke
from tests.evaluation.conftest import write_results
from tests.pipeline.conftest import ENVIRONMENT, MODEL, Halver

SMALL = {
    "objects": "demo",
    "parts": "demo",
    "sets": ("demo",),
    "ablation_sets": ("demo",),
    "variants": ("AGG", "no table", "neither", "scale alone"),
    "recipe": "demo",
    "seeds": 2,
}


def write_proposals(out):
    """A finished run over two generated scenes, by a model of numpy."""
    config = override(ProposalsConfig(), {"batch": {"images_per_shard": 2}})
    dataset = open_dataset("demo", "", "2")
    store = Store(str(Path(out) / "database"))
    plan = sharded.make_plan(database.LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    store.write_json(sharded.PLAN, plan)
    model = Halver()
    state = load(ShardTask(0, "demo", dataset.entries, dataset.read, config))
    state = run_granularity(run_complement(run_postprocess(run_mask_engine(state, model))), model)
    database.write_shard(store, 0, 2, plan["config_hash"], tables(state))
    finish(store, plan)


class Commands:
    """Stands for the commands: writes what they leave, can fail at one of them."""

    def __init__(self):
        self.run = []
        self.broken = None

    def __call__(self, command, check):
        assert not check
        arguments = command[3:]
        self.run.append(arguments)
        folder = Path(arguments[arguments.index("--out") + 1])
        if self.broken is not None and self.broken in str(folder):
            return subprocess.CompletedProcess(command, 2)
        match arguments[:2]:
            case ["proposals", _]:
                write_proposals(folder)
            case ["finetune", _]:
                folder.mkdir(parents=True)
            case ["eval", "adapted"]:
                for position, word in enumerate(arguments):
                    if word == "--only":
                        arm = arguments[position + 1]
                        mode = {"optimal": "optimal", "by-class": "none", "whole": "none"}.get(arm, "none")
                        config = {"mode": mode, "level": {"by-class": "part", "whole": "object"}.get(arm, "all")}
                        write_results(str(folder / arm), arm, override(EvaluationConfig(), config))
            case ["eval", "run"]:
                curves = "--curves" in arguments
                config = {"mode": "curves", "clicks": {"early_stop": False}} if curves else {"mode": "none"}
                name = "curves" if curves else "base"
                write_results(str(folder), name, override(EvaluationConfig(), config))
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def commands(monkeypatch):
    made = Commands()
    monkeypatch.setattr("agg_pipeline.study.run.subprocess.run", made)
    return made


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    lines = (f"{key} = {json.dumps(value)}" for key, value in SMALL.items())
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def study(recipe, tmp_path):
    def run(*options):
        where = ("--out", tmp_path / "out", "--report", tmp_path / "report.md")
        return invoke("study", "--recipe", recipe, *where, *options)

    return run


def test_a_study_and_its_report(study, commands, tmp_path):
    done = study()
    assert done.code == 0, done
    made = [" ".join(arguments[:2]) for arguments in commands.run]
    assert made[:2] == ["proposals run", "proposals annotate"]
    trained = [arguments for arguments in commands.run if arguments[0] == "finetune"]
    assert len(trained) == 5, "four variants, and the first with another seed"
    page = (tmp_path / "report.md").read_text()
    for title in ("Table 1", "Table 3", "Fig. 4", "Fig. 6", "Controllability", "Parts among", "Seeds", "cost"):
        assert title in page
    assert "| base | 18.00" in page, "parts: NoC@80 of the base"
    assert "| fine-tuned on AGG - base | -12.00 [-12.00, -12.00]" in page
    assert "| AGG, one granularity for each class - base | -10.00" in page
    assert "| AGG, granularity 1.0 - base | -2.00" in page
    assert "| demo, parts | scale alone | 0.00 | 0.00 | 0.00 | 1.00 |" in page
    assert "random cells" in page
    for picture in ("curves", "best"):
        assert f"(report/{picture}.png)" in page
        assert (tmp_path / "report" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_finished_steps_are_not_run_again(study, commands, tmp_path):
    commands.broken = "trained/no-table"
    assert "'train no-table' failed" in error_of_last_line(study())
    before = len(commands.run)
    assert not (tmp_path / "report.md").exists()
    commands.broken, commands.run = None, []
    assert study().code == 0
    assert commands.run[0][commands.run[0].index("--out") + 1].endswith("trained/no-table")
    again = len(commands.run)
    commands.run = []
    assert study().code == 0
    assert not commands.run
    assert before + again - 1 == len(json.loads((tmp_path / "out" / "steps.json").read_text()))


def error_of_last_line(result):
    assert result.code == 2, result
    return result.stderr.splitlines()[-1]


def test_training_goes_on_from_its_checkpoint(study, commands, tmp_path):
    (tmp_path / "out" / "trained" / "AGG").mkdir(parents=True)
    (tmp_path / "out" / "trained" / "AGG" / "checkpoint.pt").touch()
    commands.broken = "trained/"
    study()
    assert commands.run[-1][-1] == "--resume"
    (tmp_path / "out" / "trained" / "AGG" / "checkpoint.pt").unlink()
    study()
    assert commands.run[-1][-1] == "--overwrite"


@pytest.mark.usefixtures("commands")
def test_another_study_in_the_folder_is_refused(study, recipe):
    assert study().code == 0
    recipe.write_text(recipe.read_text() + "sample = 3\n")
    assert "'evaluate AGG on demo' was another command" in error_of(study())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('sets = ["grabcut"]', "the study needs the root of grabcut"),
        ('variants = ["magic"]', "unknown variant 'magic'"),
        ('sets = ["moon"]', "unknown data set 'moon'"),
        ('ablation_sets = ["sbd"]', "ablation_sets names sbd, which is none of the study's sets"),
        ("curves = 0", "'curves' is 0"),
        ("nonsense = 1", "unknown configuration key 'nonsense'"),
    ],
)
def test_bad_input_is_one_line(study, recipe, line, said):
    key = line.split(" = ")[0]
    kept = [each for each in recipe.read_text().splitlines() if not each.startswith(f"{key} =")]
    recipe.write_text("\n".join([*kept, line]) + "\n")
    assert said in error_of(study())


def test_unknown_recipe_and_root(tmp_path):
    where = ("--out", tmp_path / "out", "--report", tmp_path / "report.md")
    assert "unknown recipe 'none'" in error_of(invoke("study", "--recipe", "none", *where))
    assert "its root, NAME:ROOT" in error_of(invoke("study", "--data", "sbd", *where))


def test_variants_and_modes_of_the_full_study(tmp_path):
    roots = {name: f"/data/{name}" for name in ("sbd", "grabcut", "partimagenet", "pascal_part")}
    made = {step.name: step for step in steps(StudyConfig(), roots, "/base.pth", tmp_path)}
    both = made["train GT+AGG"].arguments
    assert both.count("--proposals") == 2
    assert [made[f"train {name}"].arguments.count("--proposals") for name in ("AGG", "GT")] == [1, 1]
    # A root without its database is refused by the command.
    named = {name: made[f"train {name}"].arguments for name in ("AGG", "GT", "GT+AGG")}
    of = {
        name: {each for each in given if each.endswith(("/data/sbd", "/data/partimagenet"))}
        for name, given in named.items()
    }
    images, parts = "sbd:/data/sbd", "partimagenet:/data/partimagenet"
    assert of == {"AGG": {images}, "GT": {parts}, "GT+AGG": {images, parts}}
    assert "by-class" in made["evaluate AGG on partimagenet"].arguments
    assert "by-class" not in made["evaluate AGG on pascal_part"].arguments
    assert "base" not in made["evaluate GT on sbd"].arguments
    assert "--adapter" not in made["evaluate no-LoRA on sbd"].arguments
    assert "--granularity" in made["evaluate no-LoRA on sbd"].arguments
    assert "--granularity" not in made["evaluate no-table on sbd"].arguments
    plain = made["proposals of the paper's clicks"]
    assert plain.arguments[-1] == "paper"
    assert plain.folder in made["train papers-clicks"].arguments
    assert plain.folder not in made["train AGG"].arguments
    assert "evaluate GT on demo" in made
    assert "evaluate no-table on demo" not in made
    assert len({step.folder for step in made.values()}) == len(made)


def test_arithmetic_of_all_trainings(study, commands):
    assert study("--precision", "bf16-mixed").code == 0
    trained = [arguments for arguments in commands.run if arguments[0] == "finetune"]
    assert all(each[each.index("--precision") + 1] == "bf16-mixed" for each in trained)


@pytest.mark.parametrize("name", ["full", "small"])
def test_recipes_are_studies(name, tmp_path):
    config = read_config(name, {})
    roots = dict.fromkeys((*config.sets, config.objects, config.parts), "/data")
    assert len(steps(config, roots, "/base.pth", tmp_path)) > 8
