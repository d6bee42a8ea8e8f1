"""``agg study``: its steps, resuming, and its report. Commands are replaced by what they leave, written by hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict
from pathlib import Path

import click
import pytest

from agg_pipeline.cli.main import main
from agg_pipeline.cli.study import read_config
from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.evaluation.arms import ARMS
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.shard_files import PLAN, publish, sidecars
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import new_click_model, save_click_model
from agg_pipeline.proposals.pipeline import chain, write_shard
from agg_pipeline.storage.store import Store
from agg_pipeline.study.study_config import StudyConfig
from agg_pipeline.study.study_steps import study_steps
from agg_pipeline.training.training_log import append
from schemas.config import EvaluationConfig, ProposalsConfig
from schemas.resolve import override
from schemas.training import FinetuneConfig
from tests.e2e.commands import error_of, invoke
from tests.evaluation.conftest import write_results
from tests.toy_run import ENVIRONMENT, MODEL, Halver

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
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    store.write_json(PLAN, plan)
    task = ShardTask(0, "demo", dataset.entries, dataset.read, config)
    shard = run_stages(chain(config).stages, task, Halver())
    publish(store, write_shard(shard, store, stamp_of(DATABASE_LAYOUT, plan)))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))


class Commands:
    """Stands for the commands: writes what they leave, can fail at one of them."""

    def __init__(self):
        self.run = []
        self.broken = None

    def __call__(self, command):
        arguments = command[3:]
        self.run.append(arguments)
        folder = Path(arguments[arguments.index("--out") + 1])
        if self.broken is not None and self.broken in str(folder):
            return 2
        match arguments[:2]:
            case ["proposals", _]:
                write_proposals(folder)
            case ["finetune", _]:
                folder.mkdir(parents=True, exist_ok=True)
                written = asdict(FinetuneConfig())
                (folder / "training.json").write_text(json.dumps({"config": written}))
                append(folder / "steps.csv", (70, 1, 0.1, 5e-5, 1, 0))
                (folder / ("model.safetensors" if "--no-lora" in arguments else "adapter.safetensors")).write_text("?")
            case ["eval", "adapted"]:
                for position, word in enumerate(arguments):
                    if word == "--only":
                        arm = arguments[position + 1]
                        config = {
                            "mode": ARMS[arm].mode,
                            "level": {"by-class": "part", "whole": "object"}.get(arm, "all"),
                        }
                        write_results(str(folder / arm), arm, override(EvaluationConfig(), config))
            case ["eval", "run"]:
                curves = "--curves" in arguments
                config = {"mode": "curves", "clicks": {"early_stop": False}} if curves else {"mode": "none"}
                name = "curves" if curves else "base"
                write_results(str(folder), name, override(EvaluationConfig(), config))
        return 0


@pytest.fixture
def commands(monkeypatch):
    made = Commands()
    monkeypatch.setattr("agg_pipeline.study.run.run_command", made)
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
    assert "| fine-tuned on AGG - base | -12.00" in page
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
    assert before + again - 1 == len(json.loads((tmp_path / "out" / "steps.json").read_text())["steps"])


def error_of_last_line(result):
    assert result.code == 2, result
    return result.stderr.splitlines()[-1]


def test_training_goes_on_from_its_checkpoint(study, commands, tmp_path):
    trained = tmp_path / "out" / "trained" / "AGG"
    trained.mkdir(parents=True)
    (trained / "checkpoint.pt").touch()
    (trained / "training.json").write_text(json.dumps({"config": asdict(FinetuneConfig())}))
    commands.broken = "trained/"
    study()
    assert commands.run[-1][-1] == "--resume"
    (trained / "training.json").write_text("{")
    study()
    assert commands.run[-1][-1] == "--overwrite", "nobody knows what the checkpoint is of"
    (trained / "checkpoint.pt").unlink()
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
        ('sets = ["demo", "grabcut"]', "the study needs the root folder of grabcut; give it as --data grabcut:FOLDER"),
        ('variants = ["magic"]', "unknown variant 'magic'"),
        ('sets = ["demo", "moon"]', "unknown data set 'moon'"),
        ('ablation_sets = ["sbd"]', "configuration key 'ablation_sets' is ['sbd']; sbd is none of the study's sets"),
        ("curves = 0", "'curves' is 0"),
        ("variants = []", "configuration key 'variants' is []; a study has at least one"),
        (
            'variants = ["no table", "AGG"]',
            "'variants' is ['no table', 'AGG']; it must begin with one of AGG, GT, GT+AGG",
        ),
        ("sets = []", "configuration key 'sets' is []; a study has at least one"),
        ('recipe = "none"', "unknown recipe 'none'"),
        ("nonsense = 1", "unknown configuration key 'nonsense'"),
    ],
)
def test_bad_input_is_one_line(study, recipe, line, said):
    key = line.split(" = ")[0]
    kept = [each for each in recipe.read_text().splitlines() if not each.startswith(f"{key} =")]
    recipe.write_text("\n".join([*kept, line]) + "\n")
    assert said in error_of(study())


def test_another_model_under_the_same_name_is_refused(study, commands, tmp_path):
    model = tmp_path / "model.safetensors"
    save_click_model(model, new_click_model(ARCHITECTURES["xtiny"], 96, 0))
    assert study("--checkpoint", model).code == 0
    commands.run = []
    save_click_model(model, new_click_model(ARCHITECTURES["xtiny"], 96, 1))
    assert "another study: model: " in error_of(study("--checkpoint", model))
    assert not commands.run


def test_another_training_recipe_is_refused(study, commands, recipe, tmp_path):
    training = tmp_path / "training.toml"
    training.write_text("[training]\nepochs = 1\n")
    recipe.write_text(recipe.read_text().replace('recipe = "demo"', f'recipe = "{training}"'))
    assert study().code == 0
    commands.run = []
    training.write_text("[training]\nepochs = 2\n")
    assert "another study: recipe: " in error_of(study())
    training.unlink()
    assert "does not exist" in error_of(study())
    assert not commands.run


def test_a_step_whose_results_are_damaged_is_run_again(study, commands, tmp_path):
    assert study().code == 0
    page = (tmp_path / "report.md").read_text()
    commands.run = []
    out = tmp_path / "out"
    (out / "evaluated" / "demo" / "AGG" / "optimal" / "summary.json").write_text("{")
    shutil.rmtree(out / "proposals" / "database" / "proposals")
    (out / "trained" / "neither" / "model.safetensors").unlink()
    again = study()
    assert again.code == 0, again
    assert "[1 of 13] proposals, again: what it has left is missing or damaged" in again.stdout
    made = [(" ".join(arguments[:2]), arguments[-1]) for arguments in commands.run]
    assert made == [
        ("proposals run", "--verify"),
        ("eval adapted", "--verify"),
        ("finetune --proposals", "--overwrite"),
    ]
    minutes = "Minutes of each step"
    assert (tmp_path / "report.md").read_text().partition(minutes)[0] == page.partition(minutes)[0]


@pytest.mark.usefixtures("commands")
def test_the_log_of_a_training_may_be_missing(study, tmp_path):
    assert study().code == 0
    path = tmp_path / "out" / "trained" / "AGG" / "steps.csv"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert study().code == 0
    rows = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| AGG | agg |")]
    assert [row.split(" | ")[-1] for row in rows] == ["- |"]
    path.write_text("no log\n")
    said = error_of_last_line(study())
    assert said.startswith(f"error: {path} is damaged")
    assert said.endswith("; in a study, delete the folder that it is in, and run agg study again")


@pytest.mark.usefixtures("commands")
def test_a_report_of_any_name_and_a_pipe_in_the_place_of_a_figure(study, tmp_path):
    report = tmp_path / os.fsdecode(b"my (\xff) caf\xc3\xa9.md")
    folder = report.with_suffix("")
    folder.mkdir()
    os.mkfifo(folder / "curves.png")
    assert "/curves.png: a device or a pipe lies there" in error_of_last_line(study("--report", report))
    assert not report.exists()
    (folder / "curves.png").unlink()
    assert study("--report", report).code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["best.png", "curves.png"]
    assert "](my%20%28%FF%29%20caf%C3%A9/curves.png)" in report.read_text()


@pytest.mark.parametrize("name", ["report.md", "report"])
def test_a_report_in_the_place_of_a_pipe_is_refused_before_the_first_step(study, commands, tmp_path, name):
    os.mkfifo(tmp_path / name)
    what = "file" if name == "report.md" else "folder"
    assert error_of(study()).endswith(f"{tmp_path / name} is no {what}; name another file")
    assert commands.run == []


def test_seconds_are_those_of_all_attempts(study, commands, tmp_path):
    commands.broken = "trained/AGG"
    study()
    path = tmp_path / "out" / "steps.json"
    written = json.loads(path.read_text())
    assert written["steps"]["train AGG"]["seconds"] < 60
    written["steps"]["train AGG"]["seconds"] = 3600.0
    path.write_text(json.dumps(written))
    commands.broken = None
    assert study().code == 0
    assert "| train AGG | 60.0 |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"facts": {}}', '{"facts": {}, "steps": {"proposals": {}}}'])
def test_a_damaged_list_of_steps_is_one_line(study, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "steps.json").write_text(text)
    assert "steps.json is damaged" in error_of(study())


def test_a_report_without_a_place_is_refused_before_the_first_step(study, commands, tmp_path):
    assert "has no ending; name a Markdown file" in error_of(study("--report", tmp_path / "report"))
    assert "nowhere does not exist; make it" in error_of(study("--report", tmp_path / "nowhere" / "report.md"))
    commands.broken = "proposals"
    inside = study("--out", tmp_path / "new" / "out", "--report", tmp_path / "new" / "out.md")
    assert "'proposals' failed" in inside.stderr, "a folder that the study itself makes is one"
    commands.run = []
    assert "folder of this machine" in error_of(study("--out", "memory://study"))
    assert not commands.run


@pytest.mark.usefixtures("commands")
def test_images_that_are_left_out_are_in_no_table(study, recipe, tmp_path):
    recipe.write_text(recipe.read_text() + 'leave_out = ["a", "nobody"]\n')
    assert study().code == 0
    page = (tmp_path / "report.md").read_text()
    assert "Left out, as the recipe says: a." in page
    assert "To be left out, as the recipe says, but of no evaluated image: nobody." in page
    assert "| base |" not in page


INTERRUPTED = """
import signal, sys
from agg_pipeline.execution.interrupts import watch_interrupts
from agg_pipeline.study.run import run_command

child = '''
import pathlib, sys, time
pathlib.Path(sys.argv[1], "started").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path(sys.argv[1], "ended cleanly").touch()
'''
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[2]))
watch_interrupts()
try:
    run_command([sys.executable, "-c", child, sys.argv[1]])
except KeyboardInterrupt:
    sys.exit(130)
"""


def started_step(folder, hangup):
    """A process that runs a step of a minute, when the step has begun. hangup: what it does with SIGHUP at its start;
    a terminal's default, whatever the tests themselves run under."""
    parent = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(folder), hangup])
    for _ in range(600):
        if (folder / "started").exists():
            break
        time.sleep(0.1)
    return parent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_step_ends_in_its_own_way(tmp_path, number):
    parent = started_step(tmp_path, "SIG_DFL")
    try:
        parent.send_signal(number)
        assert parent.wait(60) == 130
    finally:
        parent.kill()
    assert (tmp_path / "ended cleanly").exists()


def test_a_closed_terminal_does_not_end_a_step_under_nohup(tmp_path):
    parent = started_step(tmp_path, "SIG_IGN")
    try:
        parent.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(2)
        assert not (tmp_path / "ended cleanly").exists()
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(60) == 130
    finally:
        parent.kill()
    assert (tmp_path / "ended cleanly").exists()


@pytest.mark.parametrize("name", ["full", "small"])
def test_every_step_is_a_command_that_exists(name, tmp_path):
    config = read_config(name, {})
    roots = dict.fromkeys((*config.sets, config.objects, config.parts), str(tmp_path))
    for step in study_steps(config, roots, str(tmp_path / "base.pth"), tmp_path):
        command, words = main, [*step.arguments, "--out", step.folder]
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        command.make_context(step.name, words)


def test_unknown_recipe_and_root(tmp_path):
    where = ("--out", tmp_path / "out", "--report", tmp_path / "report.md")
    assert "unknown recipe 'none'" in error_of(invoke("study", "--recipe", "none", *where))
    assert "its root folder as NAME:FOLDER" in error_of(invoke("study", "--data", "sbd", *where))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (("sbd:a",), "--data names 'sbd', which recipe small does not use; leave it out"),
        (("sbd:a", "sbd:b"), "--data is given twice for the same data set; give each data set once"),
    ],
)
def test_a_root_that_the_study_does_not_use_is_refused(tmp_path, data, said):
    where = ("--out", tmp_path / "out", "--report", tmp_path / "none" / "report.md")
    named = [word for each in data for word in ("--data", each)]
    assert error_of(invoke("study", "--recipe", "small", *named, *where)) == said


def test_variants_and_modes_of_the_full_study(tmp_path):
    roots = {name: f"/data/{name}" for name in ("sbd", "grabcut", "partimagenet", "pascal_part")}
    made = {step.name: step for step in study_steps(StudyConfig(), roots, "/base.pth", tmp_path)}
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
    assert len(study_steps(config, roots, "/base.pth", tmp_path)) > 8


def test_a_dry_run_says_which_steps_are_finished(study, commands, tmp_path):
    before = study("--dry-run")
    assert before.code == 0, before
    assert commands.run == []
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "report.md").exists()
    total = len([line for line in before.stdout.splitlines() if line.startswith("# [")])
    assert f"# to do: {total} of {total} steps" in before.stdout
    assert "# time: not estimated, because most steps need databases and models" in before.stdout
    assert tomllib.loads(before.stdout)["variants"] == list(SMALL["variants"])
    assert study().code == 0
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    shutil.rmtree(tmp_path / "out" / "annotated")
    after = study("--dry-run")
    assert f"# to do: 1 of {total} steps" in after.stdout
    assert f"# [2 of {total}] annotated: to do" in after.stdout
    assert f"# [1 of {total}] proposals: finished in" in after.stdout
    left = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {path for path in files if path not in left and "annotated" not in path.parts} == set()
    assert {path for path in left if path not in files} == set()
