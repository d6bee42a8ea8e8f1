"""What the command line shows while a run works: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from agg_pipeline.execution.chain import Done
from agg_pipeline.execution.job import Progress, RunStart
from agg_pipeline.report.printed import show
from agg_pipeline.report.terminal import wide_console
from schemas.canonical import Json
from schemas.words import duration, plural, speed

ESTIMATE_SECONDS = 3.0
"""The time left is estimated once workers have worked for so many seconds and have finished a batch each."""
LINE_SECONDS = 10.0
LINE_SHARE = 0.05
"""Plain lines come every so many seconds; in a long run, less often: at every such share of the time so far."""


class Pace:
    """How fast the images of a run are finished. All times are in seconds, by one clock.

    Args:
        images: number of images to do.
        workers: number of workers.
        now: time at which the run begins.
    """

    def __init__(self, images: int, workers: int, now: float) -> None:
        self.images = images
        self.done = 0.0
        self._workers = workers
        self._batches = 0
        self._began = self._now = now
        self._first: float | None = None

    def advance(self, done: float, batches: int, now: float) -> None:
        """Take in how far the run is.

        Args:
            done: number of finished images; half an image's work counts half.
            batches: number of finished batches.
            now: time of the report.
        """
        # With the first report, workers say that they begin. The loading before it is left out of the rate.
        self._first = now if self._first is None else self._first
        self._now = now
        self._batches = batches
        # The number becomes smaller when a shard is redone after its worker died.
        self.done = max(self.done, done)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._now - self._began

    @property
    def rate(self) -> float | None:
        """Images per second; None if it is too early to say."""
        worked = 0.0 if self._first is None else self._now - self._first
        if worked < ESTIMATE_SECONDS or self._batches < self._workers:
            return None
        return self.done / worked

    def __str__(self) -> str:
        """Rate and time left, "" if they are unknown."""
        rate = self.rate
        if not rate:
            return ""
        return f"{speed(rate, 'image')}, about {duration((self.images - self.done) / rate)} left"


class RunProgress:
    """A progress bar on a terminal, plain lines elsewhere; both with rate and time left.

    Args:
        note: called with the sidecar of every finished shard; says how the result looks so far.
        clock: the current time in seconds.
    """

    def __init__(
        self, note: Callable[[Json], str] = lambda _sidecar: "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = wide_console()
        self._bar: Bar | None = None
        self._note_of = note
        self._note = ""
        self._clock = clock
        self._pace = Pace(0, 0, clock())
        self._finished = 0
        self._next_line = LINE_SECONDS

    def callbacks(self) -> Progress:
        """What the run calls."""
        return Progress(self._started, self._shard_finished, self._print, self._advanced)

    def close(self) -> None:
        """End the bar, if it has not ended."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _started(self, start: RunStart) -> None:
        for sidecar in start.finished:
            self._note = self._note_of(sidecar)
        if start.finished:
            self._print(f"finished already: {start.images - start.missing} of {plural(start.images, 'image')}")
        if not start.missing:
            return
        self._print(f"{plural(start.missing, 'image')} to do with {plural(start.workers, 'worker')} on {start.device}")
        if start.dashboard:
            self._print(f"Dask dashboard: {start.dashboard}")
        self._pace = Pace(start.missing, start.workers, self._clock())
        if self._console.is_terminal:
            columns = TimeElapsedColumn(), TextColumn("{task.fields[pace]}"), TextColumn("{task.fields[note]}")
            self._bar = Bar(TextColumn("images"), BarColumn(), MofNCompleteColumn(), *columns, console=self._console)
            self._bar.add_task("images", total=start.missing, pace="", note="")
            self._bar.start()

    def _shard_finished(self, done: Done) -> None:
        self._finished += len(done.task.entries)
        self._note = self._note_of(done.sidecar)

    def _advanced(self, images: float, batches: int) -> None:
        pace = self._pace
        known_before = pace.rate is not None
        pace.advance(images, batches, self._clock())
        count = f"{int(pace.done)} of {plural(pace.images, 'image')}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=pace.done, pace=str(pace), note=self._note)
        elif self._finished == pace.images:
            rate = speed(pace.images / pace.elapsed, "image")
            self._print(f"{count} in {duration(pace.elapsed)}", rate, self._note)
        elif pace.elapsed >= self._next_line or (pace.rate is not None and not known_before):
            self._print(count, str(pace), self._note)
            self._next_line = pace.elapsed + max(LINE_SECONDS, LINE_SHARE * pace.elapsed)

    def _print(self, *words: str) -> None:
        show(self._console, ", ".join(filter(None, words)))
