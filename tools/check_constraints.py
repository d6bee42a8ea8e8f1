"""Check that pip finds a version of every package under each constraints file; nothing is installed.

    python tools/check_constraints.py

All extras of pyproject.toml are resolved together: what is found then fits each of them, too. Needs the package index.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ("constraints.txt", "constraints-lowest.txt")


def main():
    """Resolve all extras under each file; exit code 1 if pip finds no solution for one."""
    failed = [name for name in CONSTRAINTS if subprocess.call(command(name))]
    if failed:
        sys.exit(f"error: pip cannot install every extra with {' or with '.join(failed)}; its messages are above")


def command(constraints):
    """The call of pip for a constraints file."""
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pip = (sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--quiet", "--disable-pip-version-check")
    return (*pip, "--constraint", str(PROJECT / constraints), f"{PROJECT}[{','.join(sorted(extras))}]")


if __name__ == "__main__":
    main()
