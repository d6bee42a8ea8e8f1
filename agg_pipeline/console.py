"""What the command line shows: progress while a run works, tables after it."""

from __future__ import annotations

import time

from rich.console import Console

from agg_pipeline.proposals import Progress, Start, Summary
from agg_pipeline.reader import ProposalDatabase


class RunConsole:
    def __init__(self) -> None:
        self.progress = Progress(self._started, self._advanced)
        self.t = time.time()
        self.n = 0

    def _started(self, start: Start) -> None:
        print(start)

    def _advanced(self, images: int) -> None:
        self.n += images
        print(self.n, time.time() - self.t, flush=True)

    def close(self) -> None: ...


def print_summary(summary: Summary, gallery_images: int) -> None:
    print(summary.manifest["totals"], summary.times, summary.seconds)


def print_status(db: ProposalDatabase) -> None: ...
def print_findings() -> None: ...
def print_stats() -> None: ...
