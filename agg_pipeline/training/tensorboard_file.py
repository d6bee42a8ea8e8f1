"""The TensorBoard file of a training, written without a thread of its own, so that no error is lost in one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from agg_pipeline.storage.local_file import cannot_write

SECONDS = 10.0
"""Time between two writes to the disk."""


class TensorBoardFile:
    """A new file of events.

    Args:
        folder: folder of the files; made if it is missing.
        step: the first step in it; TensorBoard hides this and later steps of earlier files.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self._flushed = 0.0
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(folder / "events"))
            self._events.write_event(Event(step=step, file_version="brain.Event:2", wall_time=time.time()))
            start = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(step=step, session_log=start, wall_time=time.time()))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add numbers by name; raises StorageError if the file cannot be written."""
        with self._writing():
            for name, value in values.items():
                self._events.write_event(Event(step=step, summary=scalar(name, value), wall_time=time.time()))
            now = time.monotonic()
            if now - self._flushed > SECONDS:
                self._events.flush()
                self._flushed = now

    def close(self) -> None:
        """End the file; raises StorageError if it cannot be written."""
        with self._writing():
            self._events.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.folder, error) from error
