"""What the command line shows: progress while a run works, tables after it."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from agg_pipeline.dag import STAGES
from agg_pipeline.proposals import Progress, Start, Summary
from agg_pipeline.reader import ProposalDatabase
from agg_pipeline.recall import THRESHOLDS, PartRecall, Recall
from agg_pipeline.report.statistics import by_kind_and_bin
from agg_pipeline.status import Status
from agg_pipeline.terminal import print_rows
from schemas.numbers import BINS
from schemas.tables import REASONS


class RunProgress:
    """A progress bar on a terminal, plain lines elsewhere; both with rate and time left."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._bar: Bar | None = None
        self._start = Start(0, 0, 0, 0, None)
        self._done = 0
        self._since = 0.0

    def callbacks(self) -> Progress:
        """What the run calls."""
        return Progress(self._started, self._advanced)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _started(self, start: Start) -> None:
        self._start, self._since = start, time.monotonic()
        if start.finished:
            self._console.print(f"{start.finished} of {start.shards} shards are finished already")
        if not start.images:
            return
        estimate = "" if start.estimate is None else f", about {_duration(start.estimate)}"
        self._console.print(f"{start.images} images to do with {start.workers} worker(s){estimate}")
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.fields[rate]:>14}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(elapsed_when_finished=False),
            )
            self._bar = Bar(TextColumn("images"), BarColumn(), MofNCompleteColumn(), *columns, console=self._console)
            self._bar.add_task("images", total=start.images, rate="")
            self._bar.start()

    def _advanced(self, images: int) -> None:
        self._done += images
        elapsed = time.monotonic() - self._since
        rate = f"{self._done / elapsed:.2f} images/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=images, rate=rate)
            return
        left = elapsed / self._done * (self._start.images - self._done)
        self._console.print(f"{self._done} of {self._start.images} images, {rate}, {_duration(left)} left")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def print_summary(summary: Summary) -> None:
    """The table after a run: images, objects, proposals by kind, rejects, seconds by stage, share of the model."""
    totals = summary.manifest["totals"]
    rows = [("images", str(totals["images"])), ("objects", str(totals["objects"]))]
    rows += [(f"proposals: {kind}", str(count)) for kind, count in totals["proposals"].items() if kind != "object"]
    rows += [(f"rejects: {reason}", str(count)) for reason, count in totals["rejects"].items()]
    times = summary.times
    busy = sum(times.stages.values())
    rows += [(f"seconds: {stage}", f"{times.stages[stage]:.1f}") for stage in STAGES if stage in times.stages]
    if busy:
        rows.append(("share of model forwards in these", f"{times.forwards / busy:.2f}"))
        rows.append(("images per second", f"{summary.images_done / summary.seconds:.2f}"))
    print_rows("Proposals", ("", "count"), rows)


def print_status(status: Status) -> None:
    """How far a run is."""
    rows = [
        ("data set", status.dataset),
        ("finished shards", f"{status.finished} of {status.shards}"),
        ("images in them", f"{status.images} of {status.planned}"),
        ("proposals", str(status.proposals)),
        ("running", status.owner or "no"),
    ]
    print_rows("Status", ("", ""), rows)


def print_stats(database: ProposalDatabase, recall: PartRecall | None) -> None:
    """Counts by kind and bin, rejects by reason, bytes; recall of annotated parts if it was asked for."""
    table = database.proposals(["kind", "bin"])
    counted = by_kind_and_bin(table)
    rows = [(kind, *map(str, counts), str(sum(counts))) for kind, counts in counted.items()]
    print_rows(
        "Rows by kind and granularity bin", ("kind", *(f"{n / BINS:.1f}" for n in range(1, BINS + 1)), "all"), rows
    )
    reasons = database.rejects()["reason"].to_pylist()
    rows = [(reason, meaning, str(reasons.count(reason))) for reason, meaning in REASONS.items() if reason in reasons]
    print_rows("Rejects", ("reason", "meaning", "count"), rows)
    size = sum(file["bytes"] for sidecar in database.sidecars.values() for file in sidecar["files"].values())
    masks = table.num_rows
    Console().print(f"{masks} masks in {size} bytes: {size / max(1, masks):.0f} bytes per mask")
    if recall is not None:
        _print_recall(recall)


def _print_recall(recall: PartRecall) -> None:
    head = ("masks", *(f"IoU >= {level}" for level in THRESHOLDS), "mean best IoU")
    for compared in recall.by_size:
        title = f"Recall of annotated parts: {compared.which} ({compared.proposals.parts})"
        numbers = [_numbers(found) for found in (compared.proposals, compared.random)]
        rows = [
            (name, *(f"{number:.3f}" for number in line))
            for name, line in zip(("proposals", "random partitions"), numbers, strict=True)
        ]
        rows.append(("ratio", *(f"{a / b:.2f}" if b else "-" for a, b in zip(*numbers, strict=True))))
        print_rows(f"{title}; {recall.objects} objects, {recall.masks} masks", head, rows)
    head = ("class", "parts", *(f"IoU >= {level}" for level in THRESHOLDS), "mean best IoU")
    rows = []
    for compared in recall.by_class:
        pairs = zip(_numbers(compared.proposals), _numbers(compared.random), strict=True)
        rows.append(
            (compared.which, str(compared.proposals.parts), *(f"{ours:.3f} / {chance:.3f}" for ours, chance in pairs))
        )
    print_rows("Recall by part class: proposals / random partitions", head, rows)


def _numbers(recall: Recall) -> tuple[float, ...]:
    return (*recall.at, recall.best)
