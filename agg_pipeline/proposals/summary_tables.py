"""Tables of proposal databases on the terminal."""

from __future__ import annotations

from rich.console import Console

from agg_pipeline.database.counts import by_kind_and_bin
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.database.status import Status
from agg_pipeline.proposals.recall import THRESHOLDS, PartRecall, Recall
from agg_pipeline.proposals.run import Summary
from agg_pipeline.report.terminal import print_rows
from schemas.numbers import BINS
from schemas.tables import REASONS


def print_summary(summary: Summary) -> None:
    """The table after a run: images, objects, proposals by kind, rejects, seconds by stage, share of the model."""
    totals = summary.manifest["totals"]
    rows = [("images", str(totals["images"])), ("objects", str(totals["objects"]))]
    rows += [(f"proposals: {kind}", str(count)) for kind, count in totals["proposals"].items() if kind != "object"]
    rows += [(f"rejects: {reason}", str(count)) for reason, count in totals["rejects"].items()]
    times = summary.times
    busy = sum(times.stages.values())
    rows += [(f"seconds: {stage}", f"{seconds:.1f}") for stage, seconds in times.stages.items()]
    if busy:
        rows.append(("share of model forwards in these", f"{times.forwards / busy:.2f}"))
        rows.append(("images per second", f"{summary.images_done / summary.seconds:.2f}"))
    print_rows("Proposals", ("", "count"), rows)


def print_status(status: Status) -> None:
    """How far a run is."""
    rows = [
        ("data set", status.dataset),
        ("state", status.state),
        ("finished shards", f"{status.finished} of {status.shards}"),
        ("images in them", f"{status.images} of {status.planned}"),
        ("proposals", str(status.proposals)),
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
