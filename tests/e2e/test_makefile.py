"""What ``make eval`` compares and ``make finetune`` takes, from what there is; the commands are printed, not run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LEARNT = "runs/demo/finetune/adapter.safetensors"


def command(folder: Path, *variables: str, target: str = "eval") -> str:
    """The command line of a target in a folder with the project's Makefile and what it depends on."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, folder)
    printed = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target, *variables],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return next(" ".join(line.split()) for line in printed.splitlines() if f" {target} " in line)


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
        (("DATSET=sbd", "DATA=/nope"), '--data "/nope"'),
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
