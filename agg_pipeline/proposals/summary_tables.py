"""Tables about proposal databases, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agg_pipeline.database.counts import by_kind_and_bin
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.database.status import Status
from agg_pipeline.execution.shard_files import shard_name
from agg_pipeline.proposals.recall import THRESHOLDS, PartRecall
from agg_pipeline.report.printed import say
from agg_pipeline.report.terminal import print_rows
from schemas.numbers import BINS
from schemas.tables import REASONS
from schemas.words import plural, speed

if TYPE_CHECKING:
    # It imports torch and Dask.
    from agg_pipeline.proposals.run import Summary

NAMED = 3
"""Damaged shards that are named."""


def print_summary(summary: Summary) -> None:
    """Print the table after a run: images, objects, proposals by kind, rejects, and time by stage."""
    totals = summary.manifest["totals"]
    rows = [("images", str(totals["images"])), ("objects", str(totals["objects"]))]
    rows += [(f"proposals: {kind}", str(count)) for kind, count in totals["proposals"].items() if kind != "object"]
    rows += [(f"rejects: {reason}", str(count)) for reason, count in totals["rejects"].items()]
    times = summary.times
    busy = sum(times.stages.values())
    rows += [(f"seconds: {stage}", f"{seconds:.1f}") for stage, seconds in times.stages.items()]
    if busy:
        rows.append(("share of these spent in the model", f"{times.forwards / busy:.2f}"))
        rows.append(("speed", speed(summary.images_done / summary.seconds, "image")))
    print_rows("Proposals", ("", "count"), rows)


def print_status(status: Status) -> None:
    """Print how far a run is."""
    shards, images = f"{status.finished} of {status.shards}", f"{status.images} of {status.planned}"
    if status.limited:
        shards = f"{status.finished}, all within the limit (data set: {status.shards})"
        images = f"{status.images}, all within the limit (data set: {status.planned})"
    rows = [
        ("data set", status.dataset),
        ("state", status.state),
        ("finished shards", shards),
        ("images in them", images),
        ("objects", str(status.objects)),
        ("proposals", str(status.proposals)),
    ]
    if status.damaged:
        names = ", ".join(map(shard_name, status.damaged[:NAMED])) + (", ..." if len(status.damaged) > NAMED else "")
        rows.append(("truncated, or without a file", names))
    print_rows("Status", ("", ""), rows)


def print_stats(database: ProposalDatabase, recall: PartRecall | None) -> None:
    """Print counts by kind and bin, rejects by reason, and bytes.

    Args:
        database: the database.
        recall: recall of annotated parts, printed too; None if it was not measured.
    """
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
    say(f"{plural(masks, 'mask')} in {plural(size, 'byte')}: {size / max(1, masks):.0f} bytes per mask")
    if recall is not None:
        _print_recall(recall)


def _print_recall(recall: PartRecall) -> None:
    levels = (*(f"IoU >= {level}" for level in THRESHOLDS), "mean best IoU")
    for compared in recall.by_size:
        proposals, random = compared.proposals.columns, compared.random.columns
        ratios = (f"{ours / chance:.2f}" if chance else "-" for ours, chance in zip(proposals, random, strict=True))
        rows = [
            ("proposals", *(f"{number:.3f}" for number in proposals)),
            ("random partitions", *(f"{number:.3f}" for number in random)),
            ("ratio", *ratios),
        ]
        title = f"Recall of annotated parts: {compared.which} ({compared.proposals.parts})"
        print_rows(
            f"{title}; {plural(recall.objects, 'object')}, {plural(recall.masks, 'mask')}", ("masks", *levels), rows
        )
    rows = []
    for compared in recall.by_class:
        pairs = zip(compared.proposals.columns, compared.random.columns, strict=True)
        numbers = (f"{ours:.3f} / {chance:.3f}" for ours, chance in pairs)
        rows.append((compared.which, str(compared.proposals.parts), *numbers))
    print_rows("Recall by part class: proposals / random partitions", ("class", "parts", *levels), rows)
