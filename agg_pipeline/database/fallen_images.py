"""Why images fell out of a run, in words: for proposals and for evaluations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from agg_pipeline.database.image_ids import without_ending
from schemas.canonical import Row
from schemas.errors import UserError
from schemas.tables import IMAGE_REASONS, REASONS

NAMED = 3
"""Reasons that a message names."""


def check_rejects(rejects: pa.Table, images: int, most: float, where: str) -> None:
    """Fail a run that has lost too many images.

    Args:
        rejects: rows of the table ``rejects``; at least those of images that fell out.
        images: images that the run has read.
        most: largest share of images that may fall out, in [0, 1]; images without an object do not count.
        where: file or folder of all rejects, for the message.

    Raises:
        UserError: more fell out; the message names the most frequent reasons and a likely cause.
    """
    fallen = [row for row in rejects.to_pylist() if row["reason"] in IMAGE_REASONS]
    share = len(fallen) / max(1, images)
    if share > most:
        raise UserError(
            f"{share:.1%} of the images could not be used, more than --max-reject-share {most:.1%}: "
            f"{reasons_in_words(fallen)}; all reasons are in {where}"
        )


def reasons_in_words(rows: Sequence[Row]) -> str:
    """The most frequent reasons of rejects, with an example each, and the likely cause if one is evident.

    Args:
        rows: rows of the table ``rejects``, at least one.
    """
    counted = Counter(row["reason"] for row in rows).most_common()
    reasons = [_reason_in_words(reason, count, rows) for reason, count in counted[:NAMED]]
    if len(counted) > NAMED:
        reasons.append(f"{sum(count for _, count in counted[NAMED:])} of other reasons")
    return "; ".join([*reasons, *_likely_cause(rows)])


def _reason_in_words(reason: str, count: int, rows: Sequence[Row]) -> str:
    row = next(row for row in rows if row["reason"] == reason)
    detail = f": {row['detail']}" if row["detail"] else ""
    return f"{count} x {REASONS.get(reason, reason)} (for example {row['image_id']}{detail})"


def _likely_cause(rows: Sequence[Row]) -> list[str]:
    for row in rows:
        meant = without_ending(row["image_id"])
        if meant != row["image_id"] and "does not exist" in (row["detail"] or ""):
            return [f"did you mean {meant}? The list of images has {row['image_id']}, which is the name of a file"]
    return []
