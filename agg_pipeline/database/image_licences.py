"""The licences of the single images of a database, where they are not those of their data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa

from agg_pipeline.datasets.naming import UNKNOWN
from schemas.canonical import Json
from schemas.tables import SOURCE

LISTED = 20
"""Most licences that a manifest names; the most frequent ones."""
IMAGE_LICENCES = "image_licences"
"""Key of the manifest; missing if all images have the licence of their data set."""
AND = " AND "
"""Between the licences of an image that databases have given different ones; SPDX writes it so."""

Counts = Counter[tuple[int, str]]
"""Number of images by source and licence."""


def count_licences(images: pa.Table) -> Counts:
    """Count the rows of ``images``."""
    columns = images.select([SOURCE.name, "licence"]).to_pydict()
    return Counter(zip(*columns.values(), strict=True))


def image_licences(counts: Counts, sources: Sequence[Json]) -> Json:
    """What the manifest says of the licences of the images.

    Args:
        counts: of all images.
        sources: the runs that have made the rows.

    Returns:
        Nothing if all images have the licence of their data set; else under the key of the manifest ``counts``, the
        number of images by licence, the most frequent first, and ``others``, the number of images whose licence is not
        listed.
    """
    if all(licence in ("", sources[source]["dataset"]["licence"]) for source, licence in counts):
        return {}
    total: Counter[str] = Counter()
    for (source, licence), number in counts.items():
        total[licence or sources[source]["dataset"]["licence"]] += number
    listed = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:LISTED]
    return {IMAGE_LICENCES: {"counts": dict(listed), "others": total.total() - sum(number for _, number in listed)}}


def stated_licences(text: str) -> list[str]:
    """The licences in the field ``licence`` of an image: one, or those that several databases have stated."""
    return text.split(AND)


def joint_licence(texts: Iterable[str]) -> str:
    """The field ``licence`` of an image in several databases.

    Args:
        texts: the field in each of them.

    Returns:
        Each licence once, in alphabetical order, and "unknown" only if none is stated; whatever the order of the
        databases.
    """
    found = {licence for text in texts for licence in stated_licences(text)}
    return AND.join(sorted(found - {UNKNOWN} or found))
