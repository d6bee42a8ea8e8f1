"""Real processes for the fault tests: started, found again, signalled, and ended without a trace."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.commands import ENVIRONMENT, Result
from tests.e2e.small_set import SIZES

MARK = "FAULTS_MARK"
"""Variable by which all processes of a command are found, also those whose parent is gone."""
PATIENCE = 240.0
"""Longest time to wait for anything, seconds."""
COMMAND = (sys.executable, "-m", "agg_pipeline.cli")


class Running:
    """A command that runs in a session of its own.

    Args:
        folder: place of its two logs.
        arguments: program and arguments.
        environment: variables beside those of this process.
        cwd: its working directory.
    """

    def __init__(
        self, folder: Path, arguments: Iterable[object], environment: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.logs = folder / f"{self.mark}.out", folder / f"{self.mark}.err"
        with self.logs[0].open("wb") as stdout, self.logs[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*map(str, arguments)],
                env=os.environ | ENVIRONMENT | environment | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def result(self, code: int | None = None) -> Result:
        return Result(code, *(log.read_text(errors="replace") for log in self.logs))

    def family(self) -> list[psutil.Process]:
        """All its living processes."""
        return [process for process in psutil.process_iter() if _lives(process) and _mark(process) == self.mark]

    def workers(self) -> list[psutil.Process]:
        """Its local worker processes: copies of the process that has imported everything."""
        return [each for each in self.family() if _is_forkserver(each) and _is_forkserver(each.parent())]

    def forkserver(self) -> list[psutil.Process]:
        return [each for each in self.family() if _is_forkserver(each) and not _is_forkserver(each.parent())]

    def tracker(self) -> list[psutil.Process]:
        return [each for each in self.family() if "resource_tracker" in _words(each)]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that happens while it runs."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, (what, self.result(self.process.returncode))
            assert time.monotonic() < deadline, (what, self.result())
            time.sleep(0.02)

    def signal(self, number: int, group: bool = False) -> None:
        """Send a signal, if it still runs, to its process or to the whole group."""
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            elif self.process.poll() is None:
                os.kill(self.pid, number)

    def end(self) -> Result:
        """Wait for its end; no process of it may be left then."""
        try:
            code = self.process.wait(PATIENCE)
            deadline = time.monotonic() + 60
            while (left := self.family()) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not left, [each.cmdline() for each in left]
        finally:
            self.clean_up()
        return self.result(code)

    def clean_up(self) -> None:
        """Kill what is left of it."""
        for each in self.family():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait(60)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _words(process: psutil.Process | None) -> str:
    try:
        return "" if process is None else " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_forkserver(process: psutil.Process | None) -> bool:
    return "forkserver" in _words(process)


class Commands:
    """Starts commands for one test, and ends those that it leaves behind."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.data = data
        self.started: list[Running] = []

    def start(
        self,
        *arguments: object,
        prefix: Iterable[object] = (),
        environment: Mapping[str, str] | None = None,
        program: Iterable[object] = COMMAND,
        cwd: Path | None = None,
    ) -> Running:
        """Start ``agg``, or another program.

        Args:
            arguments: of the program.
            prefix: what runs the program, such as ``unshare``.
            environment: further variables.
            program: the program.
            cwd: its working directory.
        """
        running = Running(self.folder, (*prefix, *program, *arguments), environment or {}, cwd)
        self.started.append(running)
        return running

    def proposals(self, out: object, *options: object, **how: object) -> Running:
        """Start ``agg proposals run`` on the small set."""
        data = how.pop("data", self.data)
        fixed = ("--data", data, "--gallery-images", "0", "--out", out)
        return self.start("proposals", "run", *SIZES, *fixed, *options, **how)

    def make(self, out: object, *options: object, **how: object) -> Result:
        """Run ``agg proposals run`` to its end."""
        return self.proposals(out, *options, **how).end()

    def close(self) -> None:
        for running in self.started:
            running.clean_up()


def database(out: Path) -> dict[str, str]:
    """sha256 of all files of a finished database but the plan, which may name another limit."""
    root = out / "database"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.name != "plan.json"
    }


def sidecars(out: Path) -> list[Path]:
    """The sidecars of a run: one for every shard that is finished."""
    return sorted((out / "database/shards").glob("part-*.json"))


def assert_same(out: Path, reference: Path) -> None:
    """A database holds what an undisturbed run makes, and nothing else."""
    assert database(out) == database(reference)


def assert_done(result: Result) -> None:
    assert (result.code, result.stderr) == (0, "")


def error_line(result: Result) -> str:
    """The one line with which a command fails; warnings before it are allowed."""
    assert result.code == 2, result
    *before, last = result.stderr.splitlines()
    assert all(line.startswith("WARNING: ") for line in before), result.stderr
    assert "Traceback" not in result.stdout
    assert last.startswith("error: "), result.stderr
    return last.removeprefix("error: ")


def assert_clean(out: Path) -> None:
    """A run that has ended left no lock and no temporary file."""
    assert not [path for path in out.rglob("*") if path.name.startswith((".tmp-", "lock"))]


def shim(folder: Path, *code: str) -> dict[str, str]:
    """The environment of a process that runs some lines of Python before its program.

    Args:
        folder: place of the file with the lines.
        code: the lines.
    """
    folder = folder / uuid.uuid4().hex
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("\n".join(code) + "\n")
    return {"PYTHONPATH": f"{folder}:{ENVIRONMENT['PYTHONPATH']}"}


def hold(place: str, file: Path, when: str = "True") -> str:
    """Lines for ``shim``: a function waits before it does anything, as long as a file is there.

    Args:
        place: module and name of the function, such as ``agg_pipeline.storage.store:Store.write``.
        file: while it is there, processes wait; beside it they leave a file ``NAME-waits``.
        when: condition over ``args`` of the call.
    """
    module, _, name = place.partition(":")
    owner, _, attribute = name.rpartition(".")
    target = f"module.{owner}" if owner else "module"
    return f"""
def _hold():
    import functools, importlib, pathlib, time
    module = importlib.import_module({module!r})
    real = getattr({target}, {attribute!r})
    file = pathlib.Path({str(file)!r})
    @functools.wraps(real)
    def held(*args, **options):
        while {when} and file.exists():
            file.with_name(file.name + "-waits").touch()
            time.sleep(0.02)
        return real(*args, **options)
    setattr({target}, {attribute!r}, held)
_hold()
"""


def assign(**values: object) -> str:
    """Lines for ``shim``: give names of ``agg_pipeline`` other values; ``storage__lock__LOOK_SECONDS=1``."""
    lines = []
    for name, value in values.items():
        *modules, attribute = name.split("__")
        module = ".".join(("agg_pipeline", *modules))
        lines += [f"import {module} as _module", f"_module.{attribute} = {value!r}"]
    return "\n".join(lines)


SIDECAR = "str(args[1]).startswith('shards/')"
"""Condition of ``hold`` for ``Store.write``: a shard is about to be finished."""


def needs(*command: object) -> None:
    """Skip a test whose fault cannot be made on this machine."""
    name = str(command[0])
    if shutil.which(name) is None:
        pytest.skip(f"there is no program {name} here")
    tried = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"{name} is not permitted here: {tried.stderr.strip()}")
