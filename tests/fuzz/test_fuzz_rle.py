"""Run lengths of any content and size: a mask of that size, or an error."""

import json

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from agg_pipeline.datasets.coco_masks import read_segmentation
from agg_pipeline.storage.rle import decode, encode
from schemas.crop import crop_mask
from schemas.errors import UserError
from tests.fuzz.mutations import fuzzed, mutated_bytes, mutated_json, outcome

SIDES = (0, 1, 2, 3, 10, 448, 65_535, 40_000, 2**31 - 1, -1)
NOISE = np.random.default_rng(0).random((24, 32)) < 0.3
COUNTS = encode(crop_mask(NOISE, *NOISE.shape))
SEGMENTATIONS = (
    {"size": [24, 32], "counts": COUNTS.decode()},
    {"size": [24, 32], "counts": [100, 50, 24 * 32 - 150]},
    [[5, 5, 20, 5, 20, 20, 5, 20], [1.5, 2, 9, 2, 9, 9]],
)


def target(counts, height, width):
    """Decode compressed counts."""
    try:
        mask = decode(counts, height, width)
    except ValueError as error:
        raise UserError("refused") from error
    assert mask.shape == (height, width)
    assert mask.dtype == bool
    assert set(np.unique(mask.view(np.uint8))) <= {0, 1}


@fuzzed
@given(st.one_of(mutated_bytes(COUNTS), st.binary(max_size=60)), st.sampled_from(SIDES), st.sampled_from(SIDES))
@example(b"o" * 200_000 + b"0", 448, 448)
@example(b"~" * 100_000, 448, 448)
@example(b"", 40_000, 40_000)
def test_run_lengths(counts, height, width):
    for size in ((24, 32), (height, width)):
        assert outcome(lambda size=size: target(counts, *size)) in ("ok", "UserError")


def segmentation_target(text):
    """Decode a segmentation of COCO."""
    read_segmentation(text.encode("utf-8", "surrogatepass"), 24, 32, "annotation")


@fuzzed
@given(st.one_of([mutated_json(each) for each in SEGMENTATIONS]))
@example(json.dumps([[float("inf")] * 6]))
def test_segmentations(text):
    assert outcome(lambda: segmentation_target(text)) in ("ok", "ImageError")
