"""What checks of a database or a data set report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        where: file or image, or a row or mask of it.
        what: what is wrong, in words.
    """

    where: str
    what: str
