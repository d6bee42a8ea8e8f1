"""What make runs for its variables, which are refused, and the environments that it makes. Commands are printed, not
run."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]
WITH_DATASET = ("proposals", "finetune", "eval", "pretrain", "bench")
LEARNT = "runs/demo/finetune/adapter.safetensors"


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Call make in a folder with the project's Makefile and what it depends on."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "constraints-lowest.txt"):
        shutil.copy(PROJECT / name, folder)
    shutil.copytree(PROJECT / "tools", folder / "tools", dirs_exist_ok=True)
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
    )


def printed(folder: Path, *words: str) -> list[str]:
    """The commands that make would run."""
    done = make(folder, "--dry-run", *words)
    assert done.returncode == 0, done
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def command(folder: Path, *variables: str, target: str = "eval") -> str:
    """The command line of a target."""
    return next(line for line in printed(folder, target, *variables) if f" {target} " in line)


def refusal(folder: Path, *words: str) -> str:
    """What make says when it refuses its command line; nothing is run."""
    done = make(folder, *words)
    assert done.returncode == 2, done
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def finetuned(tmp_path: Path) -> Path:
    """A folder in which ``make finetune`` has left an adapter."""
    adapter = tmp_path / LEARNT
    adapter.parent.mkdir(parents=True)
    adapter.touch()
    return tmp_path


def test_the_built_in_adapter_is_evaluated_before_fine_tuning(tmp_path: Path) -> None:
    line = command(tmp_path)
    assert " eval adapted " in line
    assert '--out "runs/demo/eval-built-in"' in line
    assert "--adapter" not in line


def test_the_fine_tuned_adapter_is_compared_afterwards(finetuned: Path) -> None:
    line = command(finetuned)
    assert " eval adapted " in line
    assert '--out "runs/demo/eval-comparison"' in line
    assert f'--adapter "{LEARNT}"' in line


def test_a_checkpoint_without_fine_tuning_is_evaluated_alone(tmp_path: Path) -> None:
    line = command(tmp_path, "CHECKPOINT=base.pth")
    assert " eval run " in line
    assert '--out "runs/demo/eval"' in line
    assert "--adapter" not in line


def test_a_fine_tuned_checkpoint_is_compared(finetuned: Path) -> None:
    line = command(finetuned, "CHECKPOINT=base.pth")
    assert " eval adapted " in line
    assert '--checkpoint "base.pth"' in line
    assert f'--adapter "{LEARNT}"' in line


def test_an_empty_adapter_evaluates_the_base(finetuned: Path) -> None:
    line = command(finetuned, "ADAPTER=")
    assert " eval run " in line
    assert "--adapter" not in line


def test_a_named_adapter_is_evaluated_alone(finetuned: Path) -> None:
    line = command(finetuned, "CHECKPOINT=base.pth", "ADAPTER=graco.pth")
    assert " eval run " in line
    assert '--adapter "graco.pth" --granularity optimal' in line
    assert '--out "runs/demo/eval-adapted"' in line


@pytest.mark.parametrize("target", ["proposals", "finetune", "eval"])
@pytest.mark.parametrize(
    ("variables", "root"),
    [
        ((), ""),
        (("DATASET=sbd",), '--data "data/sbd"'),
        (("DATASET=sbd", "DATA=/sbd"), '--data "/sbd"'),
    ],
)
def test_a_root_is_passed_on_for_sets_that_have_one_or_if_it_is_given(
    tmp_path: Path, target: str, variables: tuple[str, ...], root: str
) -> None:
    line = command(tmp_path, *variables, target=target)
    assert root in line
    assert line.count("--data ") == bool(root)


@pytest.mark.parametrize(
    ("variables", "recipe"),
    [
        ((), "demo"),
        (("DATASET=sbd",), "study"),
        (("DATASET=sbd", "CHECKPOINT=base.pth"), "paper"),
        (("DATASET=sbd", "RECIPE=mine.toml"), "mine.toml"),
    ],
)
def test_the_recipe_suits_the_model(tmp_path: Path, variables: tuple[str, ...], recipe: str) -> None:
    assert f" --recipe {recipe} " in command(tmp_path, *variables, target="finetune") + " "


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("proposals", "DATSET=sbd", "DATA=/nope"),
            "unknown variable DATSET; did you mean DATASET? known: ADAPTER ARGS",
        ),
        (("eval", "dataset=sbd"), "unknown variable dataset; did you mean DATASET? known: "),
        (("test", "FINETUNED=x"), "unknown variable FINETUNED; known: "),
        (("ZZZ=1",), "unknown variable ZZZ; known: "),
    ],
)
def test_unknown_variables_are_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    assert said in refusal(tmp_path, *words)


def test_known_variables_and_the_flags_of_make_are_taken(tmp_path: Path) -> None:
    variables = ("DATASET=sbd", "DATA=/d", "CHECKPOINT=c", "OUT=o", "ARGS=--flip", f"PYTHON={sys.executable}", "VENV=v")
    line = command(tmp_path, "-j4", "--keep-going", *variables, "SHELL=/bin/bash", target="proposals")
    assert line.endswith('agg proposals run --dataset "sbd" --data "/d" --out "o" --checkpoint "c" --flip')
    assert line.startswith("v/bin/")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("study", "DATASET=sbd", "DATA=/d"),
            "make study does not use DATASET; these targets do: proposals finetune eval pretrain view demo bench.",
        ),
        (("proposals", "RECIPE=paper"), "make proposals does not use RECIPE; these targets do: finetune."),
        (("proposals", "SAMPLE=3"), "make proposals does not use SAMPLE; these targets do: eval."),
        (
            ("study-small", "DATA=/d"),
            "does not use DATA; these targets do: proposals finetune eval pretrain study view demo bench.",
        ),
        (("eval", "PROPOSALS=there"), "make eval does not use PROPOSALS; these targets do: finetune view."),
        (("lint", "SUITE=tests/cli"), "make lint does not use SUITE; these targets do: test test-long test-lowest."),
        (("proposals", "finetune", "SAMPLE=3"), "make proposals finetune does not use SAMPLE; these targets do: eval."),
        (("ADAPTER=a",), "make help does not use ADAPTER; these targets do: eval demo."),
    ],
)
def test_variables_that_the_target_does_not_use_are_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    error = refusal(tmp_path, *words)
    assert len(error.splitlines()) == 1
    assert said in error


def test_a_variable_that_one_of_several_targets_uses_is_taken(tmp_path: Path) -> None:
    lines = printed(tmp_path, "proposals", "finetune", "eval", "DATASET=sbd", "RECIPE=demo", "SAMPLE=3")
    assert any(" proposals run " in line for line in lines)
    assert any(" --recipe demo" in line for line in lines)
    assert any(" --sample 3" in line for line in lines)


def test_a_variable_that_a_target_takes_changes_its_commands(tmp_path: Path) -> None:
    plain = {"DATASET": "coco", "DATA": "/d", "CHECKPOINT": "c", "ADAPTER": "a", "PROPOSALS": "p", "RECIPE": "r"}
    plain |= {"SAMPLE": "7", "OUT": "o", "ARGS": "--verify", "SUITE": "s"}
    for target in ("proposals", "finetune", "eval", "pretrain", "study", "study-small", "test", "golden", "bench"):
        # The demo set takes no folder, and a study is given one.
        base = ("DATA=/other",) if target == "study" else ("DATASET=sbd",) if target in WITH_DATASET else ()
        before = printed(tmp_path, target, *base)
        for name, value in plain.items():
            others = tuple(word for word in base if not word.startswith(f"{name}="))
            done = make(tmp_path, "--dry-run", target, *others, f"{name}={value}")
            if done.returncode:
                assert f"make {target} does not use {name};" in done.stderr
            else:
                assert [" ".join(line.split()) for line in done.stdout.splitlines()] != before, (target, name)


def test_a_target_that_is_not_there_is_named_by_make(tmp_path: Path) -> None:
    assert "No rule to make target 'propsals'" in refusal(tmp_path, "propsals", "DATASET=sbd")


def test_variables_of_an_outer_make_pass(tmp_path: Path) -> None:
    (tmp_path / "outer.mk").write_text("all:\n\t$(MAKE) --dry-run proposals\n")
    done = make(tmp_path, "-f", "outer.mk", "all", "THEIRS=1", "DATASET=sbd")
    assert done.returncode == 0, done
    assert 'agg proposals run --dataset "sbd"' in done.stdout


@pytest.mark.parametrize("target", ["proposals", "finetune", "eval", "pretrain", "bench"])
def test_the_demo_set_takes_no_folder(tmp_path: Path, target: str) -> None:
    assert "DATA=/data/sbd needs a DATASET" in refusal(tmp_path, target, "DATA=/data/sbd")
    if target == "finetune":
        # Recipe and output folder depend on the data set, so proposals of another set must name it.
        assert "DATA=/data/sbd needs a DATASET" in refusal(tmp_path, target, "PROPOSALS=there", "DATA=/data/sbd")
    assert f"make {target} DATASET=sbd DATA=/data/sbd" in refusal(tmp_path, target, "DATA=/data/sbd", "DATASET=demo")


def test_what_has_no_files_gets_no_folder(tmp_path: Path) -> None:
    assert "--data " not in command(tmp_path, target="proposals")
    assert "--data " not in command(tmp_path, "DATA=", target="proposals")
    assert ' --data "data/sbd" ' in command(tmp_path, "DATASET=sbd", target="proposals")
    proposals = command(tmp_path, "DATASET=sbd", "PROPOSALS=there", "DATA=/data/sbd", target="finetune")
    assert '--proposals "there" --data "/data/sbd"' in proposals
    assert '--data "sbd:/d/sbd-mini"' in command(tmp_path, "DATA=/d", target="study")


@pytest.mark.parametrize(
    ("target", "folder"),
    [
        ("proposals", ".venv"),
        ("test", ".venv-dev"),
        ("lint", ".venv-dev"),
        ("bench", ".venv-dev"),
        ("golden", ".venv-dev"),
        ("test-wheel", ".venv-dev"),
        ("check-constraints", ".venv-dev"),
        ("test-lowest", ".venv-lowest"),
    ],
)
def test_tests_have_environments_of_their_own(tmp_path: Path, target: str, folder: str) -> None:
    for given, expected in (((), folder), (("VENV=mine",), folder.replace(".venv", "mine"))):
        lines = printed(tmp_path, target, *given)
        used = {word.split("/")[0] for line in lines for word in line.split() if "/.ready" in word or "/bin/" in word}
        assert used == {expected}


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    done = make(tmp_path, "proposals", "PYTHON=python3.0")
    assert done.returncode == 2
    assert "error: python3.0 does not run; agg needs Python 3.11 or later" in done.stderr
    assert not (tmp_path / ".venv").exists()


def load_tool(name: str) -> ModuleType:
    """A program of the folder tools, as a module."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool() -> ModuleType:
    """The program that makes environments."""
    return load_tool("make_environment")


def test_an_old_interpreter_is_refused(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(
        SystemExit, match=r"this is Python 3\.10\.4, and agg needs 3\.11 or later: make PYTHON=python3\.11"
    ):
        tool.main(str(tmp_path / "venv" / ".ready"), "constraints.txt")
    assert not (tmp_path / "venv").exists()


def test_two_set_ups_at_the_same_time(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "PROJECT", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    events: list[str] = []

    def install(folder: Path, _constraints: str, project: str) -> None:
        events.append(f"begin {folder.name} {project.removeprefix(str(tmp_path))}")
        time.sleep(0.2)
        folder.mkdir()
        events.append("end")

    monkeypatch.setattr(tool, "install", install)
    arguments = [(".venv/.ready", ""), (".venv/.ready", ""), (".venv-dev/.ready-dev", "dev")]
    threads = [
        threading.Thread(target=tool.main, args=(str(tmp_path / marker), str(tmp_path / "constraints.txt"), extra))
        for marker, extra in arguments
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events[1::2] == ["end", "end"]
    assert sorted(events[::2]) == ["begin .venv ", "begin .venv-dev [dev]"]


def test_an_environment_is_made_again_when_its_packages_change(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "PROJECT", tmp_path)
    made = []
    monkeypatch.setattr(tool, "install", lambda folder, *_: made.append(folder.mkdir(exist_ok=True)))
    constraints, marker = tmp_path / "constraints.txt", tmp_path / ".venv" / ".ready"
    for path in (constraints, tmp_path / "pyproject.toml"):
        path.touch()
    for _ in range(2):
        tool.main(str(marker), str(constraints))
    assert len(made) == 1
    os.utime(constraints, (time.time() + 9, time.time() + 9))
    tool.main(str(marker), str(constraints))
    assert len(made) == 2


def test_constraints_are_checked_for_every_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check = load_tool("check_constraints")
    called = []

    def call(command: tuple[str, ...]) -> int:
        called.append(command[-2:])
        return int(command[-2].endswith("constraints-lowest.txt"))

    monkeypatch.setattr(check.subprocess, "call", call)
    with pytest.raises(SystemExit, match=r"cannot install every extra with constraints-lowest\.txt; its messages"):
        check.main()
    extras = ",".join(
        sorted(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    )
    expected = [str(PROJECT / name) for name in ("constraints.txt", "constraints-lowest.txt")]
    assert called == [(name, f"{PROJECT}[{extras}]") for name in expected]
    monkeypatch.setattr(check.subprocess, "call", lambda _command: 0)
    check.main()


def test_what_a_wheel_lacks_and_has_too_much() -> None:
    wheel = load_tool("test_wheel")
    expected = wheel.files_of(PROJECT)
    assert {"agg_pipeline/py.typed", "agg_pipeline/evaluation/published.tsv", "stages/__init__.py"} <= expected
    assert {"agg_pipeline/models/weights/xtiny224.safetensors", "agg_pipeline/recipes/finetune/demo.toml"} <= expected
    assert not [name for name in expected if name.startswith(("tests", "benchmarks")) or "__pycache__" in name]
    assert wheel.differences(expected, expected) == []
    assert wheel.differences(expected - {"agg_pipeline/py.typed"} | {"tests/x.py"}, expected) == [
        "- agg_pipeline/py.typed is missing",
        "- tests/x.py should not be there",
    ]


@pytest.mark.parametrize("target", ["proposals", "finetune", "eval", "pretrain", "study-small"])
def test_every_long_command_takes_a_dry_run(tmp_path: Path, target: str) -> None:
    line = next(line for line in printed(tmp_path, target, "ARGS=--dry-run") if "/bin/agg " in line)
    assert line.endswith(" --dry-run")
