"""Words for messages and pages: counts, durations, speeds, and what a wrong name was probably meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

SIMILAR = 0.65
"""Least similarity of a name and what was meant by it: sdb and sbd have 0.67, val2017 and train2017 0.63."""
READABLE = 0.1
"""Slower speeds, per second, are put as the time per item."""

NAMES_SHOWN = 3
"""Names that a message lists where there may be many."""


def plural(number: int, noun: str, several: str = "") -> str:
    """A number with its noun: 1 image, 20 images.

    Args:
        number: how many there are.
        noun: the noun in the singular.
        several: the noun in the plural; defaults to the singular with an s.
    """
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"


def probably(name: str, known: Iterable[str]) -> str:
    """The known name that a wrong one looks like, in any case of letters; "" if none does."""
    names = {each.lower(): each for each in known}
    return next((names[alike] for alike in get_close_matches(name.lower(), names, 1, SIMILAR)), "")


def possible(name: object, known: Iterable[str]) -> str:
    """What may stand in the place of a wrong name, or of another value: "did you mean 'sbd'? Possible: coco, sbd"."""
    names = list(known)
    meant = probably(name, names) if isinstance(name, str) else None
    listed = ", ".join(map(printable, names))
    return f"did you mean {meant!r}? Possible: {listed}" if meant else f"possible: {listed}"


def few_of(names: Sequence[str]) -> str:
    """The first few of several names, and how many others there are: a, b, c and 5 others."""
    left = len(names) - NAMES_SHOWN
    return ", ".join(map(excerpt, names[:NAMES_SHOWN])) + (f" and {plural(left, 'other')}" if left > 0 else "")


def duration(seconds: float) -> str:
    """Seconds in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def speed(per_second: float, noun: str) -> str:
    """A speed in words: 1.69 images/s or, where that would be close to nothing, 1.7 min per image.

    Args:
        per_second: items per second.
        noun: an item.
    """
    if per_second >= READABLE or per_second <= 0:
        return f"{per_second:.{1 if per_second >= 10 else 2}f} {noun}s/s"
    seconds = 1 / per_second
    if seconds < 60:
        return f"{seconds:.0f} s per {noun}"
    return f"{seconds / 60:.1f} min per {noun}" if seconds < 3600 else f"{seconds / 3600:.1f} h per {noun}"


def printable(text: str) -> str:
    """A text for one line of a terminal or a page: control characters and lone surrogates are shown as escapes.

    A name of a file or a text in it could otherwise move the cursor, colour the terminal, break the line or turn the
    order of letters round.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """A text of several lines for a terminal, a page or a log; each line is ``printable``."""
    return "\n".join(map(printable, text.split("\n")))


_UNPRINTABLE = re.compile(
    # control characters; marks of direction, ends of lines and spaces without width; halves of pairs of UTF-16
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    # Python keeps the bytes of a file name that are not UTF-8 as surrogates from U+DC80 to U+DCFF.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def excerpt(text: str, longest: int = 200) -> str:
    """A text of unknown length and origin for a message: printable, and cut after ``longest`` characters."""
    return printable(text) if len(text) <= longest else f"{printable(text[:longest])}..."


def quoted(value: object) -> str:
    """A value of unknown kind and origin for a message: as Python writes it, printable, and cut if it is long."""
    try:
        return excerpt(repr(value))
    except ValueError:
        # Python writes no integer of thousands of digits.
        return "a number of thousands of digits"
