"""Names of files and images: which ones can be used, and how names from two sources are joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar
from unicodedata import normalize

from schemas import limits
from schemas.records import ImageEntry
from schemas.words import printable

V = TypeVar("V")
SHOWN = 100
"""Characters of a name that is too long that are shown."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def text_problem(text: str) -> str | None:
    """Why a text cannot be a name in a database; None if it can. For example: is not UTF-8."""
    if _SURROGATE.search(text):
        return "is not UTF-8"
    if _CONTROL.search(text):
        return "has a control character"
    if len(text) > limits.TEXT_LENGTH:
        return f"has {len(text):,} characters; names have up to {limits.TEXT_LENGTH:,}"
    return None


def id_problem(image_id: str) -> str | None:
    """Why a listed id cannot be that of an image; None if it can. It becomes a part of a path."""
    if image_id.startswith("/") or ".." in image_id.split("/"):
        return "is a path out of the data set"
    return text_problem(image_id)


def entries_of(
    names: Iterable[str],
    make: Callable[[str], ImageEntry],
    path: Callable[[str], str],
    problem: Callable[[str], str | None] = text_problem,
) -> list[ImageEntry]:
    """Make the entries of images by their names; a name that cannot be used becomes an entry that says why.

    Args:
        names: names of the images.
        make: makes the entry of a name that can be used; its id is the name.
        path: path of a name's image, for messages.
        problem: why a name cannot be used; None if it can.

    Returns:
        The entries in the order of their names; sorted by id if some names cannot be used.
    """
    entries, unusable = [], []
    for name in names:
        why = problem(name)
        if why is None:
            entries.append(make(name))
        else:
            unusable.append((name, why))
    taken = {entry.image_id for entry in entries}
    for name, why in unusable:
        image_id = _free(_shown(name), taken)
        taken.add(image_id)
        shown = _shown(path(name))
        entries.append(ImageEntry(image_id, shown, 0, None, ("unreadable_image", f"{shown}: the name {why}")))
    return sorted(entries, key=lambda entry: entry.image_id) if unusable else entries


def _shown(name: str) -> str:
    return printable(name if len(name) <= limits.TEXT_LENGTH else f"{name[:SHOWN]}...")


def _free(name: str, taken: set[str]) -> str:
    """A name that is not taken: the first, or one with a running number behind it."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}#{number}"
    return free


def normal_form(name: str) -> str:
    """A name with every letter and its accents as one character. Some systems and programs take them apart."""
    return normalize("NFC", name)


def normal_path(path: str) -> str:
    """A path in normal form, with the ending of its name in small letters."""
    stem, dot, ending = path.rpartition(".")
    return normal_form(f"{stem}{dot}{ending.lower()}" if dot and "/" not in ending else path)


def joined(wanted: Iterable[str], there: Mapping[str, V], form: Callable[[str], str] = normal_form) -> dict[str, V]:
    """Find what belongs to names: by the same name, or else by the one that has the same form.

    Args:
        wanted: names to find.
        there: what is there, by name. What has the same name as a wanted one belongs to it alone.
        form: makes names equal that are written differently.

    Returns:
        What was found, by the wanted name.
    """
    names = list(wanted)
    found = {name: there[name] for name in names if name in there}
    if len(found) < len(names):
        others = _unique_forms((name for name in there if name not in found), form)
        for key, name in _unique_forms((name for name in names if name not in found), form).items():
            if key in others:
                found[name] = there[others[key]]
    return found


def _unique_forms(names: Iterable[str], form: Callable[[str], str]) -> dict[str, str]:
    """The names by their form, without those whose form several names have."""
    by_form: dict[str, str | None] = {}
    for name in names:
        key = form(name)
        by_form[key] = None if key in by_form else name
    return {key: name for key, name in by_form.items() if name is not None}
