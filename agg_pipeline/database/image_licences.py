"""The licences of the single images of a database, where they are not those of their data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from schemas.canonical import Json
from schemas.tables import SOURCE

LISTED = 20
"""Most licences that a manifest names; the most frequent ones."""
IMAGE_LICENCES = "image_licences"
"""Key of the manifest; missing if all images have the licence of their data set."""

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
