"""What checks of a database or a data set report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and where: a file or an image, or a row or a mask of it."""

    where: str
    what: str
