"""Annotations of SA-1B of any content: masks, rejects, or one error of the image."""

import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agg_pipeline.datasets.sa1b import open_sa1b
from agg_pipeline.storage.store import Store
from tests.fuzz.mutations import fuzzed, mutated_bytes, mutated_json, outcome
from tests.fuzz.test_fuzz_rle import SEGMENTATIONS

TRUTH = {
    "image": {"image_id": 1, "height": 24, "width": 32, "file_name": "sa_1.jpg"},
    "annotations": [{"id": 5, "segmentation": SEGMENTATIONS[0]}, {"id": 6, "segmentation": SEGMENTATIONS[1]}],
}


@cache
def root():
    """A data set without its JSON file."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-sa1b-"))
    for name in ("images", "annotations"):
        (folder / name).mkdir()
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / "images/sa_1.jpg")
    return folder


def target(content, split="all"):
    """List and read a data set."""
    (root() / "annotations/sa_1.json").write_bytes(content)
    dataset = open_sa1b(Store(str(root())), split)
    record = dataset.read(dataset.entries[0])
    assert all(reject.reason == "unreadable_object" for reject in record.rejects)


@fuzzed
@given(
    st.one_of(
        mutated_json(TRUTH).map(lambda text: text.encode("utf-8", "surrogatepass")),
        mutated_bytes(json.dumps(TRUTH).encode()),
    ),
    st.sampled_from(("all", "eval")),
)
def test_sa1b(content, split):
    assert outcome(lambda: target(content, split)) in ("ok", "ImageError")
