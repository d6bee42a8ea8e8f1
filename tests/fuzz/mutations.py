"""Hostile variants of good files, as Hypothesis strategies: they shrink to few and early edits, and replay.

A test draws a variant and gives it to a target within ``limited``; only the errors that a file may cause are allowed::

    @fuzzed
    @given(mutated_bytes(GOOD))
    def test_image(content):
        assert outcome(lambda: decode(content)) in ("ok", "UserError", "ImageError")
"""

import io
import json
import os
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from schemas.checked_json import JsonError
from schemas.errors import ImageError, UserError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Variants per target; 0 for the short run of the suite, which draws the same ones every time."""
COUNTS = os.environ.get("FUZZ_COUNTS", "")
"""File that counts the variants; "" for none."""
SHORT = 100
MEMORY = 1 << 30
"""Bytes of address space that a target may add."""
SECONDS = 30
"""Time of a processor after which a target is taken to hang."""

fuzzed = settings(
    max_examples=EXAMPLES or SHORT,
    derandomize=not EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
fuzzed_in_every_way = settings(fuzzed, max_examples=EXAMPLES or SHORT // 4)
"""For targets that read a whole folder in every way, which take a tenth of a second per variant."""

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
"""Integers at the ends of their types."""


def outcome(target: Callable[[], Any]) -> str:
    """What a target makes of a file: "ok", or the name of an error that a file may cause; other errors are raised."""
    _count_variant()
    with limited():
        try:
            target()
        except (UserError, ImageError) as error:
            lines = str(error).splitlines()
            assert len(lines) <= 1, f"an error of several lines: {lines}"
            return "UserError" if isinstance(error, JsonError) else type(error).__name__
    return "ok"


def _count_variant() -> None:
    """A byte per variant in the file FUZZ_COUNTS, which the test processes of a long run share."""
    if COUNTS:
        with open(COUNTS, "ab") as file:  # noqa: PTH123
            file.write(b".")


@contextmanager
def limited(memory: int = MEMORY, seconds: int = SECONDS) -> Iterator[None]:
    """Let a block use some memory and time of a processor; MemoryError or TimeoutError if it needs more.

    Who waits for something uses no processor, and has ten times as long by the clock: a machine may be busy.
    """

    def stop(number: int, _frame: object) -> None:
        raise TimeoutError(f"nothing after {seconds if number == signal.SIGPROF else 10 * seconds} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + memory, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(10 * seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def mutated_bytes(content: bytes, most: int = 6) -> SearchStrategy[bytes]:
    """A content after some edits: bits flipped, bytes and extreme integers put in or over others, parts cut or doubled.

    Args:
        content: a good file.
        most: most edits.
    """
    places = st.integers(0, max(0, len(content) - 1))
    edits = st.one_of(
        st.tuples(st.just(_flip), places, st.integers(0, 7)),
        st.tuples(st.just(_put), places, _pieces()),
        st.tuples(st.just(_insert), places, _pieces()),
        st.tuples(st.just(_delete), places, st.integers(1, 64)),
        st.tuples(st.just(_double), places, st.integers(1, 64)),
        st.tuples(st.just(_cut), places, st.none()),
    )
    return st.lists(edits, min_size=1, max_size=most).map(lambda chosen: _edited(content, chosen))


def _pieces() -> SearchStrategy[bytes]:
    integers = st.builds(
        lambda number, size, order: (number % (1 << 8 * size)).to_bytes(size, order),
        st.sampled_from(NUMBERS),
        st.sampled_from((1, 2, 4, 8)),
        st.sampled_from(("little", "big")),
    )
    return st.one_of(integers, st.binary(min_size=1, max_size=8))


def _edited(content: bytes, edits: Sequence[tuple[Callable[[bytearray, int, Any], None], int, Any]]) -> bytes:
    changed = bytearray(content)
    for edit, place, detail in edits:
        if changed:
            edit(changed, place % len(changed), detail)
    return bytes(changed)


def _flip(content: bytearray, place: int, bit: int) -> None:
    content[place] ^= 1 << bit


def _put(content: bytearray, place: int, piece: bytes) -> None:
    content[place : place + len(piece)] = piece


def _insert(content: bytearray, place: int, piece: bytes) -> None:
    content[place:place] = piece


def _delete(content: bytearray, place: int, count: int) -> None:
    del content[place : place + count]


def _double(content: bytearray, place: int, count: int) -> None:
    content[place:place] = content[place : place + count]


def _cut(content: bytearray, place: int, _detail: None) -> None:
    del content[place:]


@dataclass(frozen=True)
class Raw:
    """A piece of JSON text that no Python value stands for."""

    text: str


@dataclass(frozen=True)
class Pairs:
    """An object whose keys may occur twice."""

    items: tuple[tuple[str, Any], ...]


HOSTILE: tuple[Any, ...] = (
    *(None, True, False, "", [], {}, 0, -1, 1.5, -0.0, 1e308, [[]], {"": None}, "0", "-1", "nan"),
    *NUMBERS,
    *(-number - 1 for number in NUMBERS),
    *("\0", "\x1b[2J", "a\nb", "../../../../dev/zero", "/dev/zero", "é\u202e", "\U0010ffff", "a" * 5000, [0] * 5000),
    *(Raw(text) for text in ("NaN", "-Infinity", "1e999", "-0", "9" * 5000, "1e" + "9" * 400, '"\\ud800"', "", "}")),
    *(Raw(opened * 1000 + closed * 1000) for opened, closed in (("[", "]"), ('{"a":', "}"))),
    Raw("[" * 100_000),
)
"""Values that somebody might not expect."""


def mutated_json(value: Any, most: int = 3) -> SearchStrategy[str]:
    """JSON text of a value after some edits: values replaced by hostile ones, keys deleted, renamed or doubled.

    Args:
        value: a good one, of dicts, lists, texts, numbers, truth values and None.
        most: most edits.
    """
    edits = st.tuples(
        st.integers(0, _count(value) - 1),
        st.sampled_from(("replace", "replace", "delete", "rename", "double")),
        st.sampled_from(HOSTILE),
    )

    def change(chosen: list[tuple[int, str, Any]]) -> str:
        return json_text(_changed(value, {place: (how, new) for place, how, new in chosen}, [0]))

    return st.lists(edits, min_size=1, max_size=most).map(change)


def json_text(value: Any) -> str:
    """JSON text of a value that may hold ``Raw`` and ``Pairs``."""
    match value:
        case Raw(text):
            return text
        case Pairs(items):
            return "{" + ",".join(f"{json.dumps(key)}:{json_text(each)}" for key, each in items) + "}"
        case dict():
            return json_text(Pairs(tuple(value.items())))
        case list():
            return "[" + ",".join(map(json_text, value)) + "]"
    return json.dumps(value)


def _count(value: Any) -> int:
    """Values in a value, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, inner))


def _changed(value: Any, edits: dict[int, tuple[str, Any]], seen: list[int]) -> Any:
    """The value with its parts changed; they are numbered from the outside in, in their order."""
    how, new = edits.get(seen[0], ("", None))
    seen[0] += 1
    if how == "replace":
        seen[0] += _count(value) - 1
        return new
    if isinstance(value, list):
        return [_changed(each, edits, seen) for each in value]
    if not isinstance(value, dict):
        return value
    items: list[tuple[str, Any]] = []
    for key, each in value.items():
        own = edits.get(seen[0], ("", None))
        changed = _changed(each, edits, seen)
        name = str(own[1]) if own[0] == "rename" else key
        items += {"delete": [], "double": [(key, own[1]), (key, changed)]}.get(own[0], [(name, changed)])
    return Pairs(tuple(items))


def mutated_archive(entries: dict[str, bytes]) -> SearchStrategy[bytes]:
    """A zip archive after some edits of its entries: names changed, entries left out, doubled, swapped or compressed.

    Args:
        entries: the contents by name.
    """
    names = st.sampled_from(sorted(entries))
    edits = st.tuples(st.sampled_from(("drop", "double", "rename", "empty", "swap", "deflate", "edit")), names, names)
    edited = st.sampled_from(sorted(entries)).flatmap(
        lambda name: st.tuples(st.just(name), mutated_bytes(entries[name]))
    )

    def make(chosen: list[tuple[str, str, str]], part: tuple[str, bytes]) -> bytes:
        files = [(name, content, zipfile.ZIP_STORED) for name, content in entries.items()]
        for how, name, other in chosen:
            files = list(_archive_edit(files, how, name, other, part, entries))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content, compression in files:
                archive.NameToInfo.pop(name, None)  # so that no warning says that a name occurs twice
                archive.writestr(zipfile.ZipInfo(name), content, compression)
        return stream.getvalue()

    return st.builds(make, st.lists(edits, max_size=3), edited)


def _archive_edit(
    files: list[tuple[str, bytes, int]],
    how: str,
    name: str,
    other: str,
    part: tuple[str, bytes],
    entries: dict[str, bytes],
) -> Iterator[tuple[str, bytes, int]]:
    for each, content, compression in files:
        if each != name and how != "edit":
            yield each, content, compression
        elif how == "double":
            yield each, content, compression
            yield each, entries[other], compression
        elif how == "rename":
            yield other, content, compression
        elif how == "empty":
            yield each, b"", compression
        elif how == "swap":
            yield each, entries[other], compression
        elif how == "deflate":
            yield each, content, zipfile.ZIP_DEFLATED
        elif how == "edit":
            yield each, part[1] if each == part[0] else content, compression
