"""COCO files of any content: images with their annotations, rejects, or one line."""

import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agg_pipeline.datasets.coco import open_coco
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError
from schemas.tables import REASONS
from tests.fuzz.mutations import fuzzed, mutated_bytes, mutated_json, outcome
from tests.fuzz.test_fuzz_rle import SEGMENTATIONS

TRUTH = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 24, "width": 32, "license": 1},
        {"id": 2, "file_name": "b.png", "height": 24, "width": 32, "coco_url": "http://example.org/x/b.png"},
    ],
    "annotations": [
        {"id": number, "image_id": 1 + number // 2, "category_id": 1, "iscrowd": number % 2, "segmentation": each}
        for number, each in enumerate(SEGMENTATIONS)
    ],
    "categories": [{"id": 1, "name": "cat"}],
    "licenses": [{"id": 1, "name": "CC0"}],
}


@cache
def root():
    """A data set without its JSON file."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-coco-"))
    for name in ("images", "annotations"):
        (folder / name).mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / f"images/{name}.png")
    return folder


def target(content):
    """List and read a data set."""
    (root() / "annotations/instances_x.json").write_bytes(content)
    dataset = open_coco(Store(str(root())), "x")
    assert len({entry.image_id for entry in dataset.entries}) == len(dataset.entries)
    dataset.strays()
    for entry in dataset.entries:
        entry.image_id.encode()
        try:
            record = dataset.read(entry)
        except ImageError as error:
            assert error.reason in REASONS
            continue
        assert record.path in ("images/a.png", "images/b.png")
        assert all(reject.reason == "unreadable_object" for reject in record.rejects)


@fuzzed
@given(
    st.one_of(
        mutated_json(TRUTH).map(lambda text: text.encode("utf-8", "surrogatepass")),
        mutated_bytes(json.dumps(TRUTH).encode()),
    )
)
def test_coco(content):
    assert outcome(lambda: target(content)) in ("ok", "UserError")
