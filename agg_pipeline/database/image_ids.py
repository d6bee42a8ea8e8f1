"""What a user may have meant by an image id that is not there."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from itertools import islice

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
SEARCHED = 100_000
"""Ids that are compared with a wrong one, which takes a second."""


def without_ending(image_id: str) -> str:
    """The id without the folder and the ending of an image file, if it looks like one; else the id."""
    first = image_id.split()[0] if image_id.split() else image_id
    stem, dot, ending = first.rpartition(".")
    if not stem or f"{dot}{ending}".lower() not in ENDINGS:
        return image_id
    # Lists with a column for the images and one for the masks name both from the root of the data set.
    return stem.rpartition("/")[2] if stem.startswith("/") else stem


def similar(image_id: str, known: Collection[str]) -> list[str]:
    """At most three of the known ids that look like a wrong one, the most similar first."""
    stem = without_ending(image_id)
    return [stem] if stem in known else get_close_matches(image_id, islice(known, SEARCHED), 3)
