"""Make a virtual environment with this project in it. Every target of the Makefile calls this first.

    python tools/make_environment.py MARKER CONSTRAINTS [EXTRA]

MARKER is a file in the environment's folder; it is written when everything is installed, so an environment that was
interrupted half-way is finished by the next call. Two calls at the same time are safe: the second waits for the first.
Written for any Python 3, so that an old one can say that it is too old.
"""

import fcntl
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


def main(marker, constraints, extra=""):
    """Install what is missing.

    Args:
        marker: path of the file that says that the environment is complete.
        constraints: path of pip's constraints file.
        extra: an extra of the project, such as ``dev``; "" for none.
    """
    marker = Path(marker)
    if sys.version_info[:2] < OLDEST:
        found, needed = (".".join(map(str, version)) for version in (sys.version_info[:3], OLDEST))
        sys.exit(f"error: this is Python {found}, and agg needs {needed} or later: make PYTHON=python{needed}")
    with locked(PROJECT / ".environment.lock"):
        if not is_current(marker, (PROJECT / "pyproject.toml", Path(constraints))):
            install(marker.parent, constraints, f"{PROJECT}[{extra}]" if extra else str(PROJECT))
            marker.touch()


@contextmanager
def locked(path):
    """Hold a lock file; wait for whoever holds it."""
    with path.open("w") as file:
        # Some network file systems have no locks; there two set-ups at the same time are not told apart.
        with suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("waiting for another set-up in this folder to end", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_current(marker, sources):
    """Whether a marker is there and no older than what it was made from."""
    return marker.exists() and all(marker.stat().st_mtime >= source.stat().st_mtime for source in sources)


def install(folder, constraints, project):
    """Create the environment if it is missing, and install the project, editable."""
    print(f"setting up {folder} (once; a minute or two)", flush=True)
    run(sys.executable, "-m", "venv", str(folder))
    options = ("--quiet", "--disable-pip-version-check", "--constraint", str(constraints))
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", *options)
    # torch by itself and first: where an index offers the CPU build, pip then takes it instead of the CUDA packages.
    run(*pip, "torch")
    run(*pip, "--editable", project)


def run(*command):
    """Run a command; end with its exit code if it fails."""
    code = subprocess.call(command)
    if code:
        print(f"error: this command failed: {' '.join(command)}", file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
