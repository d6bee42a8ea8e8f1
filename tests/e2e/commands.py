"""The ``agg`` command for tests: in a process of its own, or, where no workers are needed, in this one."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from agg_pipeline.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
# Wide enough for tables without line breaks.
ENVIRONMENT = {
    "COLUMNS": "500",
    "PYTHONPATH": str(ROOT),
}


class Result(NamedTuple):
    """What a command left: exit code and text."""

    code: int
    stdout: str
    stderr: str


def start(*arguments, **options):
    """Start ``agg`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "agg_pipeline.cli", *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait(process):
    """Wait for a started command."""
    try:
        stdout, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    return Result(process.returncode, stdout, stderr)


def invoke(*arguments):
    """Run ``agg`` in this process; an exception that it lets out fails the test."""
    # Not with click's own runner, which keeps stdout and stderr apart in another way from version to version.
    stdout, stderr = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, ENVIRONMENT), redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            main([*map(str, arguments)], prog_name="agg")
        except SystemExit as ended:
            code = ended.code
    return Result(code, stdout.getvalue(), stderr.getvalue())


def error_of(result):
    """The one line with which a command fails."""
    assert result.code not in (0, None), result
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.stdout
    return lines[0].removeprefix("error: ")
