"""Mutated .mat files, and files with arrays of odd sizes: the readers of annotations give masks or refuse."""

import io
import struct
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from agg_pipeline.datasets import pascal_part, sbd
from schemas.errors import ImageError
from schemas.records import ImageEntry
from schemas.words import printable
from tests.datasets.mat_files import EMPTY, HEADER, WIDTHS, array, element, names
from tests.fuzz.mutations import NUMBERS, fuzzed, mutated_bytes, outcome

SHAPE = 12, 16


def _file_of(image, form="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


IMAGE = _file_of(Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)))


def _box(*place):
    frame = np.zeros(SHAPE, np.uint8)
    frame[place[0] : place[1], place[2] : place[3]] = 1
    return frame


def _structs(*rows):
    found = np.zeros((1, len(rows)), [(name, object) for name in rows[0]])
    for number, row in enumerate(rows):
        for name, value in row.items():
            found[name][0, number] = value
    return found


def _mat(variables, compress):
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=compress)
    # The header tells the time.
    return HEADER + buffer.getvalue()[128:]


PARTS = _structs({"part_name": "head", "mask": _box(1, 5, 1, 5)}, {"part_name": "leye", "mask": _box(2, 3, 2, 3)})
OBJECTS = _structs(
    {"class": "dog", "class_ind": 12.0, "mask": _box(0, 9, 0, 9), "parts": PARTS},
    {"class": "table", "class_ind": 11.0, "mask": _box(9, 11, 9, 14), "parts": np.zeros((0, 0))},
)
SBD = {"GTinst": {"Segmentation": _box(1, 5, 1, 5) + 2 * _box(6, 9, 2, 9), "Categories": np.uint8([[12], [3]])}}
PART = {"anno": _structs({"imname": "a", "objects": OBJECTS})}
SEEDS = [_mat(variables, compress) for variables in (SBD, PART) for compress in (False, True)]
CONTENTS = [zlib.decompress(seed[len(HEADER) + 8 :]) for seed in SEEDS[1::2]]
"""What is inside the compressed elements of the seeds."""


def _compressed(content):
    packed = zlib.compress(content)
    return HEADER + struct.pack("<II", 15, len(packed)) + packed


class _Files:
    """A store of one image and one annotation, without a disk."""

    def __init__(self, annotation):
        self.annotation = annotation

    def read_listed(self, path, _limit, _size=0):
        return IMAGE if path == "a.png" else self.annotation


def target(data):
    """Read a file as an annotation of SBD and of PASCAL-Part; raises what is no ImageError."""
    entry = ImageEntry("a", "a.png", len(IMAGE), "a.mat")
    for read in (sbd._read, pascal_part._read):
        try:
            record = read(_Files(data), entry)
        except ImageError as error:
            assert error.reason in ("unreadable_annotation", "size_mismatch")
            assert printable(error.detail) == error.detail
            continue
        for instance in record.objects:
            assert (instance.mask.height, instance.mask.width) == SHAPE
            assert instance.category is None or printable(instance.category) == instance.category
            assert all(part.mask.values.dtype == bool for part in instance.parts)


def test_seeds_are_annotations():
    entry = ImageEntry("a", "a.png", len(IMAGE), "a.mat")
    for seed in SEEDS[:2]:
        assert [each.category for each in sbd._read(_Files(seed), entry).objects] == ["dog", "bird"]
    for seed in SEEDS[2:]:
        found = pascal_part._read(_Files(seed), entry).objects
        assert [(each.category, len(each.parts)) for each in found] == [("dog", 2), ("diningtable", 0)]
    assert [outcome(lambda content=content: target(_compressed(content))) for content in CONTENTS] == ["ok", "ok"]


@fuzzed
@given(
    st.sampled_from(SEEDS).flatmap(mutated_bytes) | st.sampled_from(CONTENTS).flatmap(mutated_bytes).map(_compressed)
)
def test_mutated_files_raise_nothing_but_image_errors(data):
    assert outcome(lambda: target(data)) == "ok"


def _numbers_of(values):
    return array(9, values.shape, "", element(2, values.tobytes(order="F")))


def _text_of(text):
    return array(4, (1, len(text)), "", element(16, text.encode()))


def _one_struct(name, fields):
    return array(2, (1, 1), name, names(*fields) + b"".join(fields.values()))


def _annotations(place, odd):
    """Both annotations as the variables of a file, with an odd array in the place of one of theirs.

    Args:
        place: the variable or the field that the odd array takes; "first" for one more variable before the others.
        odd: makes it, by its name.
    """

    def field(name, good):
        return odd("") if name == place else good

    def variable(name, fields):
        return odd(name) if name == place else _one_struct(name, fields)

    part = {
        "part_name": field("part_name", _text_of("head")),
        "mask": field("part mask", _numbers_of(_box(1, 5, 1, 5))),
    }
    thing = {
        "class": field("class", _text_of("dog")),
        "class_ind": field("class_ind", _numbers_of(np.uint8([[12]]))),
        "mask": field("mask", _numbers_of(_box(0, 9, 0, 9))),
        "parts": field("parts", _one_struct("", part)),
    }
    truth = {
        "Segmentation": field("Segmentation", _numbers_of(_box(0, 9, 0, 9))),
        "Boundaries": field("Boundaries", EMPTY),
        "Categories": field("Categories", _numbers_of(np.uint8([[12]]))),
    }
    first = odd("first") if place == "first" else b""
    return [first, variable("GTinst", truth), variable("anno", {"objects": field("objects", _one_struct("", thing))})]


PLACES = ("first", "GTinst", "Segmentation", "Boundaries", "Categories", "anno", "objects", "class", "class_ind")
PLACES += ("mask", "parts", "part_name", "part mask")
ONE = _numbers_of(np.uint8([[1]]))
ODD_CONTENTS = {
    9: [element(2, bytes(count)) for count in (0, 1, 192)],
    4: [element(16, b"a" * count) for count in (0, 1, 192)] + [element(4, b"a\0" * 50_000)],
    1: [b"", EMPTY, EMPTY * 192, ONE, ONE * 192, EMPTY * 50_000],
    2: [
        names("mask"),
        names("mask") + EMPTY,
        names("mask", "class") + ONE * 384,
        names(*map(str, range(900))),
        element(5, struct.pack("<i", 1)) + element(1, b""),
        element(5, struct.pack("<i", 1)) + element(1, b"a" * 100_000),
    ],
    5: [b""],
    3: [b"", EMPTY],
}
"""Contents of arrays, by their class: numbers, texts, cells, structs, sparse, objects; first that of an empty one."""
SIDES = st.sampled_from((0, 0, 0, 1, 1, 192, 50_000, *SHAPE, *NUMBERS))
SIZES = st.just(SHAPE) | st.lists(SIDES, min_size=2, max_size=4) | st.lists(SIDES, min_size=30, max_size=34)
EMPTY_SIZES = st.builds(
    lambda side, size: [0 if each == 0 else side for each in size],
    st.sampled_from([number for number in NUMBERS if number > 0xFFFF]),
    st.sampled_from(((0, 1), (1, 0), (0, 1, 1, 1))),
)
MOST_BYTES = 4 << 20
"""Bytes that the copies of an odd array take at most."""


def _odd_file(kind_and_content, size, integers, copies, place, compress):
    kind, content = kind_and_content

    def odd(name):
        inner = array(kind, size, "", content, integers=integers)
        count = min(copies, MOST_BYTES // len(inner))
        if count > 1:
            return array(1, (1, count), name, inner * count)
        return array(kind, size, name, content, integers=integers)

    variables = _annotations(place, odd)
    if compress:
        packed = [zlib.compress(each, 1) for each in variables if each]
        variables = [struct.pack("<II", 15, len(each)) + each for each in packed]
    return HEADER + b"".join(variables)


WAYS = st.sampled_from(sorted(WIDTHS)), st.sampled_from((1, 1, 1, 1, 2, 90_000)), st.sampled_from(PLACES), st.booleans()
ODD_ARRAYS = st.sampled_from([(kind, content) for kind, contents in ODD_CONTENTS.items() for content in contents])
EMPTY_ARRAYS = st.sampled_from([(kind, contents[0]) for kind, contents in ODD_CONTENTS.items()])


def test_annotations_in_one_file_are_read():
    for compress in (False, True):
        content = _odd_file((9, element(2, b"a")), (1, 1), 5, 1, "first", compress)
        entry = ImageEntry("a", "a.png", len(IMAGE), "a.mat")
        assert [each.category for each in sbd._read(_Files(content), entry).objects] == ["dog"]
        (instance,) = pascal_part._read(_Files(content), entry).objects
        assert [part.label for part in instance.parts] == ["head"]


@fuzzed
@given(st.builds(_odd_file, ODD_ARRAYS, SIZES, *WAYS))
def test_arrays_of_odd_sizes_raise_nothing_but_image_errors(data):
    assert outcome(lambda: target(data)) == "ok"


@fuzzed
@given(st.builds(_odd_file, EMPTY_ARRAYS, EMPTY_SIZES, *WAYS))
def test_empty_arrays_of_extreme_sizes_raise_nothing_but_image_errors(data):
    assert outcome(lambda: target(data)) == "ok"
