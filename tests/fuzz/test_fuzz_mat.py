"""Mutated .mat files, outside and inside their compressed elements: the readers of annotations give masks or refuse."""

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
from tests.datasets.mat_files import HEADER
from tests.fuzz.mutations import fuzzed, mutated_bytes, outcome

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

    def read_listed(self, path, _limit):
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
