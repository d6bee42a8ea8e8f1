"""MATLAB files: the same values as SciPy gives, and what broken and hostile files cost."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from agg_pipeline.datasets import mat5
from agg_pipeline.datasets.mat5 import MatError, read_variable
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.survey import check
from schemas import limits
from tests.datasets.mat_files import BIG_HEADER, EMPTY, HEADER, WIDTHS, array, element, names
from tests.datasets.writers import square, write_photo
from tests.fuzz.mutations import limited


def assert_same(found, expected):
    """Whether two values are the same to the last type."""
    assert type(found) is type(expected)
    assert found.shape == expected.shape
    if expected.dtype.names:
        assert found.dtype.names == expected.dtype.names
        for name in expected.dtype.names:
            assert_same(found[name], expected[name])
    elif expected.dtype == object:
        assert found.dtype == object
        for ours, theirs in zip(found.ravel(), expected.ravel(), strict=True):
            assert_same(ours, theirs)
    else:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def written(value, compress=True):
    buffer = io.BytesIO()
    savemat(buffer, {"first": 1, "x": value, "last": "text"}, do_compression=compress)
    return buffer.getvalue()


NUMBERS = st.one_of(
    arrays(kind, array_shapes(min_dims=2, max_dims=3, max_side=4))
    for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "f8", "f4", "i8", "u8")
)
TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=9)
FIELDS = st.text("abcdefgh", min_size=1, max_size=20)


def cells(values):
    found = np.empty((1, len(values)), object)
    found[0, :] = values
    return found


VALUES = st.recursive(
    NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(cells) | st.dictionaries(FIELDS, inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.booleans())
def test_values_are_those_of_scipy(value, compress):
    content = written(value, compress)
    assert_same(read_variable(content, "x"), loadmat(io.BytesIO(content))["x"])


@pytest.mark.parametrize("value", ["", np.zeros((0, 0)), cells([]), np.array(["ab", "cd"]), True, 1.5, []], ids=repr)
def test_empty_and_small_values_are_those_of_scipy(value):
    content = written(value)
    found, expected = read_variable(content, "x"), loadmat(io.BytesIO(content))["x"]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_real_files_are_read_as_scipy_reads_them(shared):
    paths = [*sorted((shared / "data/pascal-part-mini/Annotations_Part").iterdir())[:40]]
    paths += sorted((shared / "data/sbd-mini/inst").iterdir())[:40]
    for path in paths:
        content = path.read_bytes()
        name = "GTinst" if path.parent.name == "inst" else "anno"
        assert_same(read_variable(content, name), loadmat(io.BytesIO(content))[name])
    assert len(paths) == 48


def test_sparse_and_complex_arrays_are_left_out():
    # As in SBD, whose field Boundaries nobody needs.
    content = written({"a": csc_matrix(np.eye(3)), "b": np.eye(2) * 1j, "c": np.eye(2)})
    found = read_variable(content, "x")[0, 0]
    assert (found["a"], found["b"]) == (None, None)
    np.testing.assert_array_equal(found["c"], np.eye(2))


def test_other_order_of_bytes():
    numbers = element(3, struct.pack(">6h", *range(-3, 3)), ">")
    content = BIG_HEADER + array(10, (2, 3), "x", numbers, ">")
    np.testing.assert_array_equal(read_variable(content, "x"), [[-3, -1, 1], [-2, 0, 2]])


def _of_parts(*parts):
    body = b"".join(parts)
    return struct.pack("<II", 14, len(body)) + body


DEEP = array(6, (1, 1), "", element(9, bytes(8)))
for _ in range(3000):
    DEEP = array(1, (1, 1), "", DEEP)
CLAIMS = {
    "an axis": ((0, 2**63), 13, "0x9223372036854775808"),
    "a last axis": ((2**64 - 1, 0), 13, "18446744073709551615x0"),
    "a signed axis": ((2**63 - 1, 0), 12, "9223372036854775807x0"),
    "several axes": ((0, 2**31 - 1, 2**31 - 1, 2**31 - 1), 5, "0x2147483647x2147483647x2147483647"),
    "many axes": ((0, *[65535] * 31), 4, "0x65535x65535x65535"),
    "no empty axis": ((2**32 - 1, 2**32 - 1), 6, "4294967295x4294967295"),
}
"""Sides that NumPy has no arrays of, not even empty ones, and the type of their integers."""
CONTENTS = {9: element(2, b""), 4: element(16, b""), 1: b"", 2: names("a"), 5: b""}
"""Contents of an empty array, by its class: numbers, text, cells, structs, sparse."""
BOMB = zlib.compress(bytes(600_000_000), 9)
HOSTILE = {
    "claims more than there is": (array(9, (20_000, 20_000), "GTinst", element(2, bytes(8))), "but 8 numbers"),
    "claims huge": (
        array(9, (2**31 - 1, 2**31 - 1), "GTinst", element(2, bytes(8))),
        "the limit is 536,870,912 elements",
    ),
    "claims more axes": (array(9, (2,) * 40, "GTinst", element(2, bytes(8))), "has the size 2x2x2x2"),
    "claims negative": (array(9, (-5, 7), "GTinst", element(2, bytes(8))), "has the size -5x7"),
    "huge cell": (array(1, (20_000, 20_000), "GTinst", b""), "more than 100,000 arrays"),
    "many cells": (array(1, (90, 1000), "GTinst", b""), "lacks its content"),
    "huge struct": (array(2, (20_000, 20_000), "GTinst", names("Segmentation")), "more than 100,000 arrays"),
    "struct without fields": (
        array(2, (20_000, 20_000), "GTinst", element(5, struct.pack("<i", 32)) + element(1, b"")),
        "more than 100,000 arrays",
    ),
    "deep cells": (array(1, (1, 1), "GTinst", DEEP), "nested more than 32 deep"),
    "bomb": (struct.pack("<II", 15, len(BOMB)) + BOMB, "more than 536,870,912 bytes when it is decompressed"),
    "long text": (array(4, (1, 900_000), "GTinst", element(16, b"a")), "but 1 characters"),
    "text of many letters": (
        array(4, (1, 1_000_001), "GTinst", element(16, b"a" * 1_000_001)),
        "its texts have more than 1,000,000 characters",
    ),
    "text of more bytes": (array(4, (1, 2), "GTinst", element(16, b"a" * 500_000)), "the size 1x2, but 500000 bytes"),
    "text of empty lines": (array(4, (500_000_000, 0), "GTinst", element(16, b"")), "more than 100,000 arrays"),
    "text of short lines": (array(4, (200_000, 1), "GTinst", element(16, b"a" * 200_000)), "more than 100,000 arrays"),
    "many fields": (array(2, (1, 99_000), "GTinst", names(*map(str, range(900)))), "more than 100,000 arrays"),
    "more fields": (array(2, (1, 1), "GTinst", names(*map(str, range(2000)))), "has 2,000 fields; the limit is 1,000"),
    "endless fields": (
        array(2, (0, 0), "GTinst", element(5, struct.pack("<i", 1)) + element(1, b"a" * 3_000_000)),
        "has 3,000,000 fields; the limit is 1,000",
    ),
    "same fields": (array(2, (1, 1), "GTinst", names("a", "a")), "fields of the same name"),
    "odd text": (array(4, (1, 1), "GTinst", element(9, b"a")), "text of an unknown encoding"),
    "broken text": (array(4, (1, 1), "GTinst", element(17, b"a")), "text of a broken size"),
    "short element": (struct.pack("<HH4s", 14, 9, b""), "a short element of more than 4 bytes"),
    "cut tag": (b"\x0e\0\0\0", "ends inside an element"),
    "size in fractions": (
        _of_parts(element(6, struct.pack("<II", 9, 0)), element(9, struct.pack("<2d", np.nan, np.inf))),
        "an array of it has no size",
    ),
    "class in fractions": (_of_parts(element(9, struct.pack("<d", 9.0))), "an array of it has no class"),
    "flags of one byte": (_of_parts(element(2, bytes((9, 0)))), "lacks its content"),
    "no variable": (element(9, bytes(8)), "an element of type 9 in the place of a variable"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_before_it_costs_memory(name, monkeypatch):
    content, what = HOSTILE[name]
    if name == "bomb":
        # To see what it costs beyond its limit, which is small for this test.
        monkeypatch.setattr(limits, "MAT_CONTENT_BYTES", 1_000_000)
        what = "more than 1,000,000 bytes when it is decompressed"
    tracemalloc.start()
    try:
        with pytest.raises(MatError) as error:
            read_variable(HEADER + content, "GTinst")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert what in str(error.value)
    assert "\n" not in str(error.value)
    assert peak < 12_000_000


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("claim", CLAIMS)
def test_size_that_no_array_can_have_is_refused_in_every_place(claim, kind):
    sides, integers, said = CLAIMS[claim]
    said = f"an array of it has the size {said}; the limit is 536,870,912 elements, where a side of 0 counts as 1"
    odd = array(kind, sides, "x", CONTENTS[kind], integers=integers)
    places = {
        "variable": HEADER + odd,
        "cell": HEADER + array(1, (1, 1), "x", array(kind, sides, "", CONTENTS[kind], integers=integers)),
        "field": HEADER + array(2, (1, 1), "x", names("a", "b") + array(6, (0, 0), "", element(9, b"")) + odd),
        "variable before": HEADER + odd.replace(b"x", b"w") + array(9, (1, 1), "x", element(2, b"a")),
    }
    for place, content in places.items():
        with limited(memory=64 << 20, seconds=10), pytest.raises(MatError) as error:
            read_variable(content, "x")
        assert (place, str(error.value)) == (place, said)


@pytest.mark.parametrize("integers", WIDTHS)
@pytest.mark.parametrize("kind", [9, 4, 1, 2])
def test_empty_arrays_have_their_size_whatever_its_integers(kind, integers):
    found = read_variable(HEADER + array(kind, (0, 99), "x", CONTENTS[kind], integers=integers), "x")
    assert found.shape == ((0,) if kind == 4 else (0, 99))


def test_a_variable_that_uses_up_the_limit_leaves_nothing_for_the_next(monkeypatch):
    variables = [array(9, (1, 1000), name, element(9, bytes(8000))) for name in ("x", "GTinst")]
    packed = [zlib.compress(each) for each in variables]
    content = HEADER + b"".join(struct.pack("<II", 15, len(each)) + each for each in packed)
    assert read_variable(content, "GTinst").shape == (1, 1000)
    monkeypatch.setattr(limits, "MAT_CONTENT_BYTES", len(variables[0]))
    with pytest.raises(MatError, match="bytes when it is decompressed"):
        read_variable(content, "GTinst")


def test_many_small_arrays_are_counted_over_all_cells(monkeypatch):
    number = array(9, (1, 1), "", element(9, bytes(8)))
    for each in (EMPTY, number):
        # The variable, three cells in it, and three in each of these.
        content = HEADER + array(1, (1, 3), "x", array(1, (1, 3), "", each * 3) * 3)
        monkeypatch.setattr(limits, "MAT_ARRAYS", 13)
        assert read_variable(content, "x").shape == (1, 3)
        monkeypatch.setattr(limits, "MAT_ARRAYS", 12)
        with pytest.raises(MatError, match="more than 12 arrays"):
            read_variable(content, "x")


def test_characters_are_counted_over_all_texts(monkeypatch):
    content = HEADER + array(1, (1, 3), "x", array(4, (1, 5), "", element(16, b"abcde")) * 3)
    monkeypatch.setattr(limits, "MAT_TEXT_LENGTH", 15)
    assert read_variable(content, "x")[0, 2].tolist() == ["abcde"]
    monkeypatch.setattr(limits, "MAT_TEXT_LENGTH", 14)
    with pytest.raises(MatError, match="its texts have more than 14 characters"):
        read_variable(content, "x")


FEW_CELLS = array(1, (1, 1000), "", EMPTY * 1000)
LONG_TEXT = array(4, (1, 50_000), "", element(4, b"a\0" * 50_000))
FIELDLESS = array(2, (300, 300), "", element(5, struct.pack("<i", 1)) + element(1, b""))
EMPTY_STRUCT = array(2, (0, 0), "", names(*map(str, range(900))))
LINES = array(4, (900, 0), "", element(16, b""))
BOMBS = {
    "texts": (array(1, (1, 1000), "x", LONG_TEXT * 1000), "its texts have more than 1,000,000 characters"),
    "empty cells": (array(1, (1, 2000), "x", FEW_CELLS * 2000), "it has more than 100,000 arrays"),
    "structs without fields": (array(1, (1, 2000), "x", FIELDLESS * 2000), "it has more than 100,000 arrays"),
    "names of fields": (array(1, (1, 2000), "x", EMPTY_STRUCT * 2000), "it has more than 100,000 arrays"),
    "empty lines": (array(1, (1, 90_000), "x", LINES * 90_000), "it has more than 100,000 arrays"),
    "variables": (array(9, (1, 1), "w", element(2, b"a")) * 200_000, "it has more than 100,000 arrays"),
}
"""Variables of many parts, each of which is small enough by itself, and why they are refused."""


@pytest.mark.parametrize("name", BOMBS)
def test_many_parts_are_refused_before_they_cost_memory_and_time(name):
    content, said = BOMBS[name]
    content = HEADER + content
    with limited(memory=128 << 20), pytest.raises(MatError) as error:
        read_variable(content, "x")
    assert str(error.value) == said


def test_variable_behind_others_is_found():
    before = [array(1, (1, 1), "cells", EMPTY), array(4, (1, 3), "text", element(16, b"abc"))]
    wanted = array(9, (1, 2), "x", element(2, b"ab"))
    plain, packed = HEADER, HEADER
    for each in (*before, wanted, array(9, (1, 1), "last", element(2, b"c"))):
        squeezed = zlib.compress(each)
        plain += each
        packed += struct.pack("<II", 15, len(squeezed)) + squeezed
    for content in (plain, packed):
        assert read_variable(content, "x").tolist() == [[97, 98]]
        with pytest.raises(KeyError):
            read_variable(content, "tex")


def test_module_needs_no_scipy():
    assert "import scipy" not in Path(mat5.__file__).read_text()


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "bomb"])
def test_hostile_file_is_one_finding(tmp_path, name):
    (tmp_path / "inst").mkdir()
    for image_id in ("a", "b", "c"):
        write_photo(tmp_path / "img" / f"{image_id}.jpg")
        savemat(tmp_path / "inst" / f"{image_id}.mat", {"GTinst": {"Segmentation": square((20, 30), 1, 1, 5, 5) * 1}})
    (tmp_path / "val.txt").write_text("a\nb\nc\n")
    dataset = open_dataset("sbd", str(tmp_path), "val")
    assert list(check(dataset)) == []
    content, _ = HOSTILE[name]
    (tmp_path / "inst" / "b.mat").write_bytes(HEADER + content)
    (finding,) = check(open_dataset("sbd", str(tmp_path), "val"))
    assert finding.where == "img/b.jpg"
    assert finding.what.startswith("unreadable_annotation: inst/b.mat ")


TEXT_ELEMENTS = {
    "UTF-16, two units for one character": (5, element(17, "do\U0001f415g".encode("utf-16-le")), "do\U0001f415g"),
    "UTF-8, two units for one character": (5, element(16, "do\U0001f415g".encode()), "do\U0001f415g"),
    "UTF-8, one for one": (4, element(16, "do\U0001f415g".encode()), "do\U0001f415g"),
    "half a character": (3, element(17, b"d\0\x00\xd8g\0"), "d\ud800g"),
    "Latin-1": (3, element(1, b"d\xe9g"), "d\udce9g"),
    "UTF-32": (3, element(18, "d\U0001f415g".encode("utf-32-le")), "d\U0001f415g"),
}


@pytest.mark.parametrize("name", TEXT_ELEMENTS)
def test_texts_of_odd_characters_are_read(name):
    """They cost at most what uses them: a lone surrogate can be no name."""
    count, content, expected = TEXT_ELEMENTS[name]
    assert read_variable(HEADER + array(4, (1, count), "x", content), "x").tolist() == [expected]


def opaque(name):
    """A string or table of MATLAB: it has no size; its own name, kind and class follow the flags."""
    body = element(6, struct.pack("<II", 17, 0)) + element(1, name.encode()) + element(1, b"MCOS")
    body += element(1, b"string") + array(13, (6, 1), "", element(6, bytes(24)))
    return struct.pack("<II", 14, len(body)) + body


@pytest.mark.parametrize("name", ["o", "GTinst", "a name of thirty-two characters"])
def test_what_only_matlab_can_read_costs_nothing_else(name):
    number = array(9, (1, 1), "", element(9, struct.pack("<d", 7.0)))
    struct_of_both = array(2, (1, 1), "x", names("note", "good") + opaque("") + number)
    found = read_variable(HEADER + opaque(name) + struct_of_both, "x")
    assert found["note"][0, 0] is None
    assert found["good"][0, 0].tolist() == [[7.0]]
    assert read_variable(HEADER + opaque(name), name) is None
