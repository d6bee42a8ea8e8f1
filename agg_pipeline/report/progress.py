"""What the command line shows while a run works: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from agg_pipeline.execution.chain import Done
from agg_pipeline.execution.job import Progress, RunStart
from agg_pipeline.report.terminal import wide_console
from schemas.canonical import Json


class RunProgress:
    """A progress bar on a terminal, plain lines elsewhere; both with rate and time left.

    note: called with the sidecar of every shard that is finished, says how the result looks so far.
    """

    def __init__(self, note: Callable[[Json], str] = lambda _sidecar: "") -> None:
        self._console = wide_console()
        self._bar: Bar | None = None
        self._start = RunStart(0, (), 0, 0, None)
        self._note = note
        self._done = 0
        self._since = 0.0

    def callbacks(self) -> Progress:
        """What the run calls."""
        return Progress(self._started, self._advanced, self._console.print)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _started(self, start: RunStart) -> None:
        self._start, self._since = start, time.monotonic()
        for sidecar in start.finished:
            self._note(sidecar)
        if start.finished:
            self._console.print(f"{len(start.finished)} of {start.shards} shards are finished already")
        if not start.images:
            return
        estimate = "" if start.estimate is None else f", about {duration(start.estimate)}"
        self._console.print(f"{start.images} images to do with {start.workers} worker(s){estimate}")
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.fields[rate]:>14}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(TextColumn("images"), BarColumn(), MofNCompleteColumn(), *columns, console=self._console)
            self._bar.add_task("images", total=start.images, rate="", note="")
            self._bar.start()

    def _advanced(self, done: Done) -> None:
        images, note = len(done.task.entries), self._note(done.sidecar)
        self._done += images
        elapsed = time.monotonic() - self._since
        rate = f"{self._done / elapsed:.2f} images/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=images, rate=rate, note=note)
            return
        left = duration(elapsed / self._done * (self._start.images - self._done))
        self._console.print(
            ", ".join(filter(None, (f"{self._done} of {self._start.images} images, {rate}", note, f"{left} left")))
        )


def duration(seconds: float) -> str:
    """Seconds in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
