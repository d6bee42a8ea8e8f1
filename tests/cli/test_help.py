"""``--help`` of every command: what it says, what it imports; suggestions and completion."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agg_pipeline.cli.config_options import ConfigOption
from agg_pipeline.cli.main import GROUPS
from agg_pipeline.cli.options import Choice
from agg_pipeline.cli.places import Place
from agg_pipeline.evaluation.run import LARGER_INPUTS
from tests.cli.every_command import COMMANDS, LEAVES
from tests.e2e.commands import ROOT, error_of, invoke

HEAVY = ("torch", "dask", "distributed", "matplotlib", "scipy", "cv2", "lightning_fabric", "pyarrow")
ALL_HELP = """
import sys
from agg_pipeline.cli.main import main
for words in sys.argv[1:]:
    try:
        main([*words.split(), "--help"])
    except SystemExit as end:
        assert end.code == 0, words
print("IMPORTED", *sorted(sys.modules))
"""


def run(*arguments, **environment):
    """A Python process in the project's folder; what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    return done.stdout


def test_help_of_every_command_imports_nothing_heavy():
    printed = run("-c", ALL_HELP, *COMMANDS)
    assert printed.count("Usage: ") == len(COMMANDS)
    imported = printed.splitlines()[-1].split()
    assert imported[0] == "IMPORTED"
    assert not set(imported) & set(HEAVY)


@pytest.mark.parametrize(("path", "command"), COMMANDS.items(), ids=list(COMMANDS))
def test_every_option_says_what_it_does_and_its_default(path, command):
    context = click.Context(command, info_name=path, show_default=True)
    for each in command.params:
        if isinstance(each, click.Argument):
            assert each.help.endswith("."), each.name
            continue
        if each.hidden:
            assert re.fullmatch(r"Former name of --[a-z-]+\.", each.help), each.name
            continue
        names, said = each.get_help_record(context)
        assert each.help.endswith("."), each.name
        if names == "--version":
            continue
        assert "[default: " in said or "required]" in said, each.name
        if not each.is_flag and not each.count:
            unit = names.split(maxsplit=1)[1]
            assert unit not in ("N", "TEXT", "INTEGER", "FLOAT", "VALUE", "PATH") and "RANGE" not in unit, each.name
            assert unit != "NUMBER" or each.name == "seed", f"{each.name}: its unit"
        # Keys of the configuration are not what an option is called.
        assert not re.search(r"[a-z]_[a-z]", said), each.name


@pytest.mark.parametrize(
    ("path", "option", "default"),
    [
        ("proposals run", "--split", "the set's split for training, see agg data list"),
        ("eval run", "--split", "the set's split for evaluation, see agg data list"),
        ("eval adapted", "--split", "the set's split for evaluation, see agg data list"),
        ("eval adapted", "--calibrate-split", "the set's split for training, see agg data list"),
        ("data inspect", "--split", "all splits that are there"),
        ("data check", "--split", "all splits that are there"),
        ("eval run", "--target", "0.9 (object); 0.85 (part); 0<=x<=1"),
        ("finetune", "--resume", "no"),
        ("finetune", "--lora", "yes"),
        ("proposals run", "--flip", "no for paper and parts; yes for released"),
        ("", "--verbose", "warnings only"),
    ],
)
def test_defaults_are_those_of_the_command(path, option, default):
    command = COMMANDS[path]
    found = next(each for each in command.params if option in each.opts)
    assert found.get_help_record(click.Context(command, show_default=True))[1].endswith(f"[default: {default}]")


def test_the_splits_that_commands_take_are_listed():
    sbd = invoke("data", "list").stdout.partition("sbd: ")[2]
    assert "  split     train for training, val for evaluation\n" in sbd
    grabcut = invoke("data", "list").stdout.partition("grabcut: ")[2]
    assert grabcut.index("split     all for training, all for evaluation") < grabcut.index("partimagenet: ")


def test_the_larger_input_of_davis_is_told():
    for path in ("proposals run", "eval run", "eval adapted"):
        option = next(each for each in COMMANDS[path].params if each.name == "input_size")
        for (name, own), larger in LARGER_INPUTS.items():
            assert f"agg eval takes {larger} for {name} with a model of {own}" in option.help


def test_every_choice_says_what_was_probably_meant():
    for path, command in LEAVES.items():
        for each in command.params:
            assert not isinstance(each.type, click.Choice) or isinstance(each.type, Choice), f"{path} {each.name}"


@pytest.mark.parametrize(("path", "command"), LEAVES.items(), ids=list(LEAVES))
def test_every_command_ends_with_two_examples_that_it_understands(path, command):
    lines = [line.strip() for line in invoke(*path.split(), "--help").stdout.splitlines()]
    shown = lines[lines.index("Examples:") + 1 :]
    assert len(shown) == 2
    for line in shown:
        words = shlex.split(line.partition("|")[0])
        assert words[: 1 + len(path.split())] == ["agg", *path.split()]
        command.make_context(path, words[1 + len(path.split()) :])


@pytest.mark.parametrize(("path", "command"), LEAVES.items(), ids=list(LEAVES))
def test_no_command_takes_more_than_eight_arguments(path, command):
    parameters = inspect.signature(inspect.unwrap(command.callback)).parameters.values()
    assert len(parameters) <= 8, path
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters), path


def test_groups_and_their_commands_have_a_line_each():
    listed = invoke("--help").stdout
    for name, line in GROUPS.items():
        assert COMMANDS[name].help.splitlines()[0] == line
        assert f"  {name:9}  {line}\n" in listed
    for group in sorted({leaf.split()[0] for leaf in LEAVES if " " in leaf}):
        shown = [line.split() for line in run("-m", "agg_pipeline.cli", group, "--help", COLUMNS="80").splitlines()]
        for name, command in COMMANDS[group].commands.items():
            assert command.hidden or [name, *command.help.splitlines()[0].split()] in shown, "in one line, and not cut"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("propsals",), "No such command 'propsals'. Did you mean 'proposals'?"),
        (("proposals", "rum"), "No such command 'rum'. Did you mean 'run'?"),
        (("eval", "comprae"), "No such command 'comprae'. Did you mean 'compare'?"),
        # Of options click may say several; the words depend on its version.
        (("proposals", "run", "--sede", "1"), "--seed"),
        (("eval", "run", "--max-click", "1", "--out", "x"), "--max-clicks"),
        (("proposals", "run", "--dataset", "sdb", "--out", "x"), "unknown data set 'sdb'; did you mean 'sbd'? Poss"),
        (("data", "check", "SBD"), "unknown data set 'SBD'; did you mean 'sbd'? Possible: berkeley, coco, "),
        (("pretrain", "--data", "cocoo:/x", "--out", "x"), "unknown data set 'cocoo'; did you mean 'coco'? Possible"),
        (
            ("study", "--data", "sdb:/x", "--out", "x", "--report", "x.md"),
            "unknown data set 'sdb'; did you mean 'sbd'? Poss",
        ),
        (("proposals", "run", "--preset", "papr", "--out", "x"), "'papr' is not one of 'paper', 'parts', 'released'. "),
        (("proposals", "run", "--preset", "papr", "--out", "x"), "'released'. Did you mean 'paper'?"),
        (("finetune", "--source", "ag", "--proposals", "x", "--out", "y"), "'object'. Did you mean 'agg'?"),
        (("eval", "adapted", "--only", "optimum", "--out", "x"), "'whole'. Did you mean 'optimal'?"),
        (
            ("eval", "run", "--granularity", "optima", "--out", "x"),
            "the words; did you mean 'optimal'? Possible: none",
        ),
        (("eval", "compare", "x", "--format", "latx"), "'latex'. Did you mean 'latex'?"),
        (
            ("finetune", "--recipe", "demmo", "--proposals", "x", "--out", "y"),
            "'demmo'; did you mean 'demo'?",
        ),
        (
            ("study", "--recipe", "smal", "--out", "x", "--report", "x.md"),
            "'smal'; did you mean 'small'?",
        ),
        (("proposals", "run", "--class", "animl", "--out", "x"), "no class 'animl'; did you mean 'animal'? Possible: "),
        (
            ("eval", "run", "--split", "vall", "--out", "x"),
            "unknown split 'vall' of demo; did you mean 'val'? ",
        ),
    ],
)
def test_what_was_probably_meant(words, said):
    assert said in error_of(invoke(*words))


@pytest.mark.parametrize("words", [("--preset", "zzz"), ("--dataset", "zzz"), ("--split", "zzz"), ("--class", "zzz")])
def test_nothing_is_suggested_for_what_looks_like_nothing(words):
    assert "id you mean" not in error_of(invoke("proposals", "run", *words, "--out", "x"))


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (("proposals", "run", "--dataset", "sbd", "--out", "x"), "--data FOLDER (with make: DATA=folder)"),
        (("eval", "run", "--dataset", "sbd", "--out", "x"), "--data FOLDER (with make: DATA=folder)"),
        (("data", "check", "sbd"), "agg data check sbd FOLDER"),
        (("data", "inspect", "sbd", "--split", "val"), "agg data inspect sbd FOLDER"),
        (("pretrain", "--data", "sbd", "--out", "x"), "--data sbd:FOLDER"),
        (("pretrain", "--data", "sbd:", "--out", "x"), "--data sbd:FOLDER"),
    ],
)
def test_how_the_root_folder_is_given(words, how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert error_of(invoke(*words)) == f"data set sbd needs its root folder; give it as {how}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("agg prop", {"proposals"}),
        ("agg database v", {"validate"}),
        ("agg proposals run --dataset g", {"grabcut"}),
        ("agg eval run --image", {"--images-per-shard"}),
    ],
)
def test_the_shell_completes_commands_options_and_data_sets(words, offered):
    completing = {"_AGG_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    printed = run("-m", "agg_pipeline.cli", **completing)
    assert {line.partition(",")[2] for line in printed.splitlines()} == offered
    assert "_AGG_COMPLETE=bash_source" in invoke("--help").stdout


PATHS = {"adapter", "calibrate_split", "checkpoint", "config", "data", "exclude_list", "others", "out", "parts", "path"}
PATHS |= {"image", "mask", "proposals", "recipe", "report", "results", "source", "split", "target"}


@pytest.mark.parametrize("command", LEAVES.values(), ids=list(LEAVES))
def test_the_home_folder_is_known_in_every_path(command, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    for each in command.params:
        if each.name in PATHS and not isinstance(each, ConfigOption):
            assert isinstance(each.type, Place), each.name
            assert str(each.type.convert("~/a", each, None)) == "/home/someone/a"
            assert str(each.type.convert("sbd:~/a", each, None)) == "sbd:/home/someone/a"
            if each.type.type is Path:
                with pytest.raises(click.BadParameter, match="is a URL"):
                    each.type.convert("s3://bucket/~/a", each, None)
            else:
                assert each.type.convert("s3://bucket/~/a", each, None) == "s3://bucket/~/a"


def test_paths_that_are_not_expanded_are_as_they_were():
    for text in ("", "a~b", "./~", "memory://x", "val", "demo:200", "C:\\data"):
        assert Place().convert(text, None, None) == text


@pytest.mark.parametrize("place", ["~nobody-of-that-name/a", "sbd:~nobody-of-that-name/a"])
def test_the_home_folder_of_nobody_is_a_message(place):
    problem = "~nobody-of-that-name/a is in the home folder of an unknown user"
    assert error_of(invoke("proposals", "status", place)) == problem
    assert error_of(invoke("finetune", "--proposals", "a", "--out", "b", "--recipe", place)) == problem


def test_the_home_folder_reaches_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert error_of(invoke("proposals", "status", "~/runs")).startswith(
        f"{tmp_path}/runs is not a proposal database, because"
    )
    asked = ("proposals", "run", "--out", "~/out", "--config", "~/none.toml")
    assert error_of(invoke(*asked)) == f"configuration file {tmp_path}/none.toml does not exist"
    asked = ("finetune", "--proposals", "~/db", "--out", "~/out", "--recipe", "~/none.toml")
    assert error_of(invoke(*asked)) == f"configuration file {tmp_path}/none.toml does not exist"


@pytest.mark.parametrize(
    "words",
    [
        ("proposals", "run", "--data", "/nope", "--out", "{out}"),
        ("proposals", "annotate", "--dataset", "demo", "--data", "/nope", "--out", "{out}"),
        ("eval", "run", "--data", "/nope", "--out", "{out}"),
        ("eval", "adapted", "--data", "/nope", "--out", "{out}"),
        ("study", "--recipe", "small", "--data", "demo:/nope", "--out", "{out}", "--report", "{out}.md"),
        ("data", "inspect", "demo", "/nope"),
        ("data", "check", "demo", "/nope"),
    ],
)
def test_a_folder_for_the_set_that_has_none_is_refused(words, tmp_path):
    error = error_of(invoke(*(word.format(out=tmp_path / "out") for word in words)))
    assert error == "data set demo is built in and has no folder; leave /nope out, or name another data set"
    assert not (tmp_path / "out").exists()
