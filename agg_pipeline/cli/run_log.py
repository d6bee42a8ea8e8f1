"""What is logged: messages of the libraries on stderr, by ``-v``, and everything of a run in ``OUT/log.txt``.

Libraries use ``logging.getLogger(__name__)``. What the command prints (tables, progress lines) is also given to the
logger ``PRINTED``, which goes to the file alone.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from agg_pipeline.report.printed import PRINTED
from agg_pipeline.storage.local_file import open_to_append
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.words import printable_lines

if TYPE_CHECKING:
    # It imports torch and Dask, and the log is also of commands that need neither.
    from agg_pipeline.execution.job import Progress, RunStart

LOG = "log.txt"
ALL = "agg_pipeline"
PACKAGES = ("agg-pipeline", "torch", "dask", "distributed", "numpy", "pyarrow", "opencv-python-headless")
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class _Formatter(logging.Formatter):
    """Shows texts of others, such as names of files, as they can be shown on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """A message in printable lines."""
        return printable_lines(super().format(record))


class _Stderr(logging.Handler):
    """Prints messages on whatever stderr is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        print(self.format(record), file=sys.stderr)


def show_messages(verbosity: int) -> None:
    """Print messages of the libraries on stderr: warnings, with 1 also what happens, with 2 or more also details."""
    level = LEVELS[min(verbosity, len(LEVELS) - 1)]
    handler = _Stderr(level)
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: record.name != PRINTED)
    logger = logging.getLogger(ALL)
    for old in [each for each in logger.handlers if isinstance(each, _Stderr)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.INFO))


class RunLog(logging.Handler):
    """The log of a run in its output folder.

    Messages are kept until ``begin`` says that the folder is this run's, so a run that is refused leaves no file. Then
    they are appended to the file, and each further one at once; where files cannot be appended to (object stores), at
    the end. A log that cannot be written does not stop the run.
    """

    def __init__(self, out: str) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(_Formatter(FORMAT))
        self._store = Store(out).anchored()
        self._local = self._store.is_local()
        self._kept: list[str] = []
        self._begun = False

    def begin(self) -> None:
        """The output folder is this run's: write what was kept, and each further message."""
        if self._local and not self._begun:
            # Not later: a folder that is moved away while the run works is not made again.
            with suppress(OSError):
                Path(self._store.url).mkdir(parents=True, exist_ok=True)
        self._begun = True
        if self._local:
            self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep or write a message."""
        self._kept.append(self.format(record))
        if self._begun and self._local:
            self._write()

    def close(self) -> None:
        """Write what could not be written before."""
        if self._begun:
            self._write()
        super().close()

    def _write(self) -> None:
        text = "".join(f"{line}\n" for line in self._kept).encode()
        self._kept = []
        try:
            if self._local:
                with open_to_append(Path(self._store.url) / LOG) as file:
                    file.write(text)
            elif text:
                before = self._store.read(LOG) if self._store.exists(LOG) else b""
                self._store.write(LOG, before + text)
        except (OSError, UserError):
            # A full disk is reported by the run itself.
            pass


def warn_each(lines: Iterable[str]) -> None:
    """Print and log warnings, a line each."""
    logger = logging.getLogger(__name__)
    for line in lines:
        logger.warning("%s", line)


@contextmanager
def run_log(out: str) -> Iterator[RunLog]:
    """Log a run: versions and command line at its start; at its end how it ended and how long it took.

    Args:
        out: output folder of the run, a path or URL; the log is ``log.txt`` in it.
    """
    logger, printed = logging.getLogger(ALL), logging.getLogger(PRINTED)
    log = RunLog(out)
    logger.addHandler(log)
    logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
    started = time.monotonic()
    for line in facts():
        printed.info(line)
    ended = "finished"
    try:
        yield log
    except BaseException as error:
        ended = _ending(error)
        raise
    finally:
        printed.info("%s after %.1f s", ended, time.monotonic() - started)
        logger.removeHandler(log)
        log.close()


def _ending(error: BaseException) -> str:
    """How a run ended that raised an exception."""
    if isinstance(error, SystemExit):
        return f"ended with exit code {error.code or 0}"
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    return f"failed: {error}"


def logged(progress: Progress, log: RunLog) -> Progress:
    """Add the log to a run's callbacks: it begins when the work begins, because the run owns its folder then.

    Args:
        progress: shows the progress to a person.
        log: log of the run.
    """

    def started(start: RunStart) -> None:
        log.begin()
        progress.started(start)

    return replace(progress, started=started)


def facts() -> list[str]:
    """Command line, place and versions, a line each."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in PACKAGES)]
    return [
        f"started: {shlex.join(sys.argv)}",
        f"in {Path.cwd()} on {socket.gethostname()}, process {os.getpid()}",
        f"with {', '.join(versions)}",
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
