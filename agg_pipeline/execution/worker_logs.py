"""What workers log reaches the process that started the run, and so the log in its output folder.

A worker may be on another machine, and its log may be gone with it. Messages take the way of the reports of progress.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from distributed import Client, Worker

from schemas.words import printable_lines

LOG = logging.getLogger(__name__)
OWN = "agg_pipeline"
LEVELS = {OWN: logging.INFO, "distributed": logging.WARNING}
"""What is sent: messages of these packages, from these levels on."""


class SentLog(logging.Handler):
    """Sends a worker's messages to the process that started a run. They are lost if the worker dies.

    Args:
        worker: the worker.
        run: name of the run.
    """

    def __init__(self, worker: Worker, run: str) -> None:
        super().__init__()
        self._worker = worker
        self._topic = _topic(run)

    def begin(self) -> None:
        """Send each message from now on."""
        for name in LEVELS:
            logging.getLogger(name).addHandler(self)
        logger = logging.getLogger(OWN)
        logger.setLevel(min(logger.level or logging.INFO, logging.INFO))

    def close(self) -> None:
        """Send no message any more."""
        for name in LEVELS:
            logging.getLogger(name).removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a message."""
        # A worker in the process that started the run would send what it has heard from itself.
        if record.levelno >= LEVELS[_package(record.name)] and record.name != LOG.name:
            text = printable_lines(self.format(record))
            # While the worker ends, nothing can be sent any more.
            with suppress(Exception):
                self._worker.log_event(self._topic, [self._worker.address, record.name, record.levelno, text])


def collect_logs(client: Client, run: str) -> None:
    """Log here what the workers of a run log from now on: warnings of this package as such, all else as information."""

    def heard(event: tuple[float, Sequence[Any]]) -> None:
        address, name, level, text = event[1]
        LOG.log(level if _package(name) == OWN else logging.INFO, "worker %s: %s", address, text)

    client.subscribe_topic(_topic(run), heard)


def _topic(run: str) -> str:
    return f"{run}-log"


def _package(name: str) -> str:
    return name.partition(".")[0]
