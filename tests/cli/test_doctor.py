"""``agg doctor``: what it finds in faked conditions, and in this installation."""

import subprocess
import sys
from pathlib import Path

import pytest

from agg_pipeline.cli import doctor
from agg_pipeline.cli.checks import (
    GIB,
    Check,
    check_folders,
    check_foreign,
    check_memory,
    check_model,
    check_packages,
    judge_model,
)
from agg_pipeline.cli.foreign import INSTALLATION, foreign_packages
from tests.e2e.commands import invoke


def problems(found):
    return {check.what: check.problem for check in found if check.problem}


def test_packages_below_what_is_needed_are_marked():
    installed = {"agg-pipeline": "1.0", "numpy": "1.25.2", "dask": "2025.1.0", "torch": "2.13.0+cpu"}
    needed = ["numpy>=1.26", "dask>=2024.8", "torch>=2.6", "rich>=13", 'pytest>=8; extra == "dev"']
    found = check_packages(needed, installed.get)
    assert [(check.what, check.found, check.needed) for check in found] == [
        ("agg-pipeline", "1.0", ""),
        ("numpy", "1.25.2", ">=1.26"),
        ("dask", "2025.1.0", ">=2024.8"),
        ("torch", "2.13.0+cpu", ">=2.6"),
        ("rich", "not installed", ">=13"),
    ]
    assert problems(found) == {
        "numpy": "numpy is 1.25.2, but >=1.26 is needed; pip install 'numpy>=1.26'",
        "rich": "rich is not installed, but >=13 is needed; pip install 'rich>=13'",
    }


def test_a_pre_release_above_the_floor_is_enough():
    assert not problems(check_packages(["torch>=2.6"], {"torch": "2.14.0a0+git1"}.get))


def test_a_project_that_is_not_installed():
    assert "install it with pip" in problems(check_packages(None))["agg-pipeline"]


def test_foreign_packages():
    found = check_foreign({"schemas": "/elsewhere/schemas"}, lambda: {"stages": ["agg-pipeline", "pipelines"]})
    assert [(check.what, check.found) for check in found] == [
        ("package schemas", "/elsewhere/schemas"),
        ("package stages", "ours"),
    ]
    assert "imports the package 'schemas' from /elsewhere/schemas" in found[0].problem
    assert "pipelines has installed a package 'stages' into the same folder" in found[1].problem
    assert not problems(check_foreign({}, lambda: {"stages": ["agg-pipeline"], "schemas": ["agg-pipeline"]}))


@pytest.mark.parametrize("kind", ["package", "namespace"])
def test_every_command_names_a_foreign_package(tmp_path, kind):
    (tmp_path / "schemas").mkdir()
    if kind == "package":
        (tmp_path / "schemas" / "__init__.py").touch()
    path = [str(tmp_path), *map(str, (INSTALLATION,))] if kind == "package" else [str(tmp_path)]
    # A folder that is searched first, as in PYTHONPATH, and a package that is found nowhere else.
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("foreign", {str(INSTALLATION / "agg_pipeline/cli/foreign.py")!r})
foreign = importlib.util.module_from_spec(spec)
spec.loader.exec_module(foreign)
sys.path[:0] = {path!r}
foreign.NAMES = ("schemas",)
foreign.refuse_foreign_packages()
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: Python imports the package 'schemas' from {tmp_path / 'schemas'}, not from")
    assert len(done.stderr.splitlines()) == 1


def test_our_packages_are_not_foreign():
    assert foreign_packages() == {}


def test_little_memory():
    assert check_memory(4 * GIB) == Check("free memory", "4.0 GiB", ">= 2.0 GiB")
    assert "only 0.5 GiB of memory are free" in check_memory(GIB // 2).problem


def test_folders_without_room_or_permission(tmp_path):
    folders = {"working folder": tmp_path, "temporary folder": tmp_path / "absent"}
    full = check_folders(folders, lambda _: GIB // 4)
    assert problems(full) == {
        "working folder": f"only 0.2 GiB are free in {tmp_path}; make room",
        "temporary folder": f"{tmp_path / 'absent'} cannot be written to; set TMPDIR to a folder that can",
    }
    assert full[0].found == f"{tmp_path}: 0.2 GiB free"
    assert not problems(check_folders({"working folder": tmp_path}, lambda _: GIB))
    assert not list(tmp_path.iterdir())


def test_the_model_finds_the_object():
    check = check_model("cpu")
    assert not check.problem
    assert check.found.startswith("IoU 0.83 in ")


def test_a_model_that_computes_something_else():
    assert not judge_model("cpu", 0.61, 1.0).problem
    assert "gives IoU 0.31 instead of 0.83" in judge_model("cuda", 0.31, 1.0).problem


def test_a_model_that_fails():
    assert check_model("moon").problem.startswith("one click on moon failed: ")


def test_exit_codes(monkeypatch):
    healthy = [Check("Python", "3.11"), Check("one click on cpu", "IoU 0.83 in 1.0 s")]
    monkeypatch.setattr(doctor, "check_packages", lambda _: healthy)
    monkeypatch.setattr(doctor, "check_machine", list)
    monkeypatch.setattr(doctor, "check_memory", lambda _: Check("free memory", "9.0 GiB"))
    monkeypatch.setattr(doctor, "check_model", lambda device: Check(f"one click on {device}", "IoU 0.83"))
    done = invoke("doctor")
    assert done.code == 0, done
    assert done.stdout.splitlines()[-1] == "no problem found"
    monkeypatch.setattr(doctor, "check_memory", lambda _: Check("free memory", "0.1 GiB", problem="buy some"))
    done = invoke("doctor")
    assert done.code == 1
    assert done.stdout.splitlines()[-2:] == ["1 problem:", "- buy some"]
    assert "PROBLEM" in next(line for line in done.stdout.splitlines() if "free memory" in line)


def test_it_lists_what_a_question_needs():
    done = invoke("doctor")
    for word in ("Python", "torch", "dask", "numpy", "pyarrow", "CPU cores", "threads of torch", "free memory"):
        assert word in done.stdout
    assert str(Path.cwd()) in done.stdout
