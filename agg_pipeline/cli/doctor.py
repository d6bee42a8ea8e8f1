"""``agg doctor``: whether this installation and this machine are fit for a run."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import cloup

from agg_pipeline.cli.checks import (
    DISTRIBUTION,
    Check,
    available_memory,
    check_folders,
    check_foreign,
    check_machine,
    check_memory,
    check_model,
    check_packages,
    owners_of_packages,
)
from agg_pipeline.cli.foreign import foreign_packages
from agg_pipeline.cli.option_groups import examples
from agg_pipeline.report.printed import say
from agg_pipeline.report.terminal import print_rows
from schemas.words import plural


@cloup.command("doctor", epilog=examples("agg doctor", "agg doctor | tee doctor.txt"))
def group() -> None:
    """Check this installation and this machine.

    It looks at versions, devices, memory and folders, and runs the built-in model once. The exit code is 1 if something
    is wrong. Send the output with a question or a report of a fault.
    """
    packages = [Check("Python", platform.python_version()), *check_packages(_requirements())]
    packages += check_foreign(foreign_packages(), owners_of_packages)
    machine = [*check_machine(), check_memory(available_memory()), *check_folders(_folders())]
    machine.append(check_model("cpu"))
    if any(check.what.startswith("cuda:") for check in machine):
        machine.append(check_model("cuda"))
    for title, checks in (("Packages", packages), ("Machine", machine)):
        print_rows(title, ("", "found", "needed", ""), [_row(check) for check in checks])
    problems = [check.problem for check in (*packages, *machine) if check.problem]
    say(summary(problems))
    sys.exit(1 if problems else 0)


def summary(problems: Sequence[str]) -> str:
    """A line for each problem, or one that says that there is none."""
    if not problems:
        return "no problem found"
    return "\n".join((f"{plural(len(problems), 'problem')}:", *(f"- {problem}" for problem in problems)))


def _row(check: Check) -> tuple[str, str, str, str]:
    return check.what, check.found, check.needed, "PROBLEM" if check.problem else ""


def _requirements() -> list[str] | None:
    """What the installed project requires; None if it is not installed."""
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return None


def _folders() -> dict[str, Path]:
    """The folders that runs write to."""
    here = Path.cwd()
    folders = {"working folder": here, "temporary folder": Path(tempfile.gettempdir())}
    return folders | ({"runs": here / "runs"} if (here / "runs").is_dir() else {})
