"""``--help`` of every command: what it says, what it imports; suggestions and completion."""

import inspect
import os
import re
import shlex
import subprocess
import sys

import click
import pytest

from agg_pipeline.cli.config_options import ConfigOption
from agg_pipeline.cli.main import GROUPS
from agg_pipeline.cli.options import Place
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


@pytest.mark.parametrize(
    "module",
    [
        "agg_pipeline.evaluation.compare",
        "agg_pipeline.evaluation.evaluation_page",
        "agg_pipeline.report.text_table",
        "agg_pipeline.study.study_report",
        "agg_pipeline.database.reader",
    ],
)
def test_who_only_reads_results_imports_neither_dask_nor_torch(module):
    loaded = run("-c", f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert not set(loaded) & {"torch", "dask", "distributed"}


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
        _, said = each.get_help_record(context)
        assert each.help.endswith("."), each.name
        assert each.is_flag or each.count or "[default: " in said or "required]" in said, each.name
        if isinstance(each.type, click.types.IntRange | click.types.FloatRange) and not each.count:
            assert each.metavar, f"{each.name}: its unit"


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
            assert [name, *command.help.splitlines()[0].split()] in shown, "in one line, and not cut"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("propsals",), "No such command 'propsals'. Did you mean 'proposals'?"),
        (("proposals", "rum"), "No such command 'rum'. Did you mean 'run'?"),
        (("eval", "comprae"), "No such command 'comprae'. Did you mean 'compare'?"),
        # Of options click may say several; the words depend on its version.
        (("proposals", "run", "--sede", "1"), "--seed"),
        (("eval", "run", "--max-click", "1", "--out", "x"), "--max-clicks"),
    ],
)
def test_what_was_probably_meant(words, said):
    assert said in error_of(invoke(*words))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("agg prop", {"proposals"}),
        ("agg proposals v", {"validate"}),
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
PATHS |= {"proposals", "recipe", "report", "results", "source", "split", "target"}


@pytest.mark.parametrize("command", LEAVES.values(), ids=list(LEAVES))
def test_the_home_folder_is_known_in_every_path(command, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    for each in command.params:
        if each.name in PATHS and not isinstance(each, ConfigOption):
            assert isinstance(each.type, Place), each.name
            assert str(each.type.convert("~/a", each, None)) == "/home/someone/a"
            assert str(each.type.convert("sbd:~/a", each, None)) == "sbd:/home/someone/a"
            assert str(each.type.convert("s3://bucket/~/a", each, None)) in ("s3://bucket/~/a", "s3:/bucket/~/a")


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
    assert error_of(invoke("proposals", "status", "~/runs")).startswith(f"{tmp_path}/runs is no proposal database")
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
    option = "ROOT /nope" if words[0] == "data" else "--data /nope"
    assert error == f"data set demo is built in and has no folder; leave {option} out, or name another set"
    assert not (tmp_path / "out").exists()
