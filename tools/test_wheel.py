"""Build the wheel, check what is in it, install it into a new environment, and use it from an empty folder.

    python tools/test_wheel.py

The environment that runs this needs the package ``build``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("agg_pipeline", "schemas", "stages")
IMAGES = 2


def main() -> None:
    """Exit with a message at the first thing that is wrong."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel = build(folder)
        wrong = differences(files_in(wheel), files_of(PROJECT))
        if wrong:
            sys.exit("\n".join(("the wheel does not hold what it should:", *wrong)))
        python = install(wheel, folder / "environment")
        empty = folder / "empty"
        empty.mkdir()
        use(python, empty)
    print("the wheel works")


def build(folder: Path) -> Path:
    """Build the source distribution, and the wheel from it; the path of the wheel."""
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(PROJECT))
    return next(folder.glob("*.whl"))


def files_in(wheel: Path) -> set[str]:
    """The files of a wheel, without the metadata that every wheel has."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files_of(project: Path) -> set[str]:
    """The files that the packages consist of: code, weights, recipes, templates, tables."""
    found = (path for package in PACKAGES for path in (project / package).rglob("*") if path.is_file())
    return {path.relative_to(project).as_posix() for path in found if "__pycache__" not in path.parts}


def differences(found: set[str], expected: set[str]) -> list[str]:
    """A line for each file that is missing or that should not be there."""
    lacking = [f"- {name} is missing" for name in sorted(expected - found)]
    return lacking + [f"- {name} should not be there" for name in sorted(found - expected)]


def install(wheel: Path, environment: Path) -> Path:
    """Install a wheel into a new environment; the path of its interpreter."""
    run(sys.executable, "-m", "venv", str(environment))
    python = environment / "bin" / "python"
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    pinned = ("--constraint", str(PROJECT / "constraints.txt"))
    run(*pip, *pinned, "torch")
    run(*pip, *pinned, str(wheel))
    return python


def use(python: Path, folder: Path) -> None:
    """Make proposals of a few images with the installed command, in a folder without any code."""
    agg = str(python.parent / "agg")
    run(agg, "doctor", folder=folder)
    run(agg, "proposals", "run", "--limit-images", str(IMAGES), "--workers", "1", "--out", "out", folder=folder)
    run(agg, "proposals", "validate", "out", folder=folder)
    totals = json.loads((folder / "out" / "database" / "manifest.json").read_text())["totals"]
    if totals["images"] != IMAGES or not totals["proposals"]["part"]:
        sys.exit(f"the database does not hold what it should: {totals}")
    if not (folder / "out" / "report" / "gallery.html").exists():
        sys.exit("there is no gallery")


def run(*command: str, folder: Path = PROJECT) -> None:
    """Run a command in a folder; end with a message if it fails."""
    print("+", *command, flush=True)
    if subprocess.call(command, cwd=folder):
        sys.exit(f"this command failed: {' '.join(_shown(command))}")


def _shown(command: Sequence[str]) -> list[str]:
    return [f"'{word}'" if " " in word else word for word in command]


if __name__ == "__main__":
    main()
