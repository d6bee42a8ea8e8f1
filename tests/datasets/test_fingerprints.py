"""Fingerprints of sets, which decide whether a run is resumed: they stay from version to version."""

import json

import pytest

from agg_pipeline.datasets.dataset import fingerprint
from agg_pipeline.datasets.registry import DATASETS, open_dataset

PICTURE, ANNOTATION = b"a picture", b"an annotation"
"""Listing a set decodes nothing."""
FILES = {
    # set: its split, and its files
    "demo": ("train", {}),
    "sbd": ("train", {"img/a.jpg": PICTURE, "inst/a.mat": ANNOTATION, "train.txt": b"a\n"}),
    "coco": (
        "val2017",
        {
            "val2017/a.jpg": PICTURE,
            "annotations/instances_val2017.json": json.dumps(
                {
                    "images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 3, "license": 1}],
                    "annotations": [
                        {
                            **{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]},
                            "segmentation": [[0, 0, 1, 0, 1, 1]],
                        }
                    ],
                    "categories": [{"id": 1, "name": "cat"}],
                    "licenses": [{"id": 1, "name": "free"}],
                }
            ).encode(),
        },
    ),
    "grabcut": ("all", {"data_GT/a.jpg": PICTURE, "boundary_GT/a.bmp": ANNOTATION}),
    "berkeley": ("all", {"images/a.jpg": PICTURE, "masks/a.png": ANNOTATION}),
    "davis": ("all", {"img/a.jpg": PICTURE, "gt/a.png": ANNOTATION}),
    "folder": ("all", {"images/a.jpg": PICTURE, "masks/a.png": ANNOTATION}),
    "pascal_voc": (
        "val",
        {
            **{"JPEGImages/a.jpg": PICTURE, "SegmentationObject/a.png": ANNOTATION},
            **{"SegmentationClass/a.png": ANNOTATION, "ImageSets/Segmentation/val.txt": b"a\n"},
        },
    ),
    "pascal_part": (
        "val",
        {"JPEGImages/a.jpg": PICTURE, "Annotations_Part/a.mat": ANNOTATION, "ImageSets/Main/val.txt": b"a\n"},
    ),
    "partimagenet": (
        "val",
        {
            **{"images/val/a.JPEG": PICTURE, "annotations/val/a.png": ANNOTATION},
            "class_names.json": b'{"categories": [{"id": 0, "name": "Quadruped Head"}]}',
        },
    ),
    "sa1b": ("all", {"images/a.jpg": PICTURE, "annotations/a.json": ANNOTATION}),
}
OF_VERSION_0_1_0 = {
    "demo": "1afd09e00eaec6319e1bc037ebae4649",
    "sbd": "7b3f16261a35acdc7029da4b1d41a1ee",
    "coco": "0a94b54e78bcf0ab8b5da448892f2b65",
    "grabcut": "c39acead475e0017215d57d2044f6af7",
    "berkeley": "c52ad2f98c25cac9a47ffdcee9aa0aa6",
    "davis": "7b3f16261a35acdc7029da4b1d41a1ee",
    "folder": "c52ad2f98c25cac9a47ffdcee9aa0aa6",
    "pascal_voc": "36268fceecbde61574960a7bf04430cb",
    "pascal_part": "36268fceecbde61574960a7bf04430cb",
    "partimagenet": "5829c7be5efd856bdd74648f27814b27",
    "sa1b": "4186c2f72c336f1d6a2dc0532f8ae8f6",
}
SINCE = {
    # Files that decide masks have joined these.
    "pascal_voc": "02675f818e02b71df7a21e07b1503c61",
    "partimagenet": "265cdf7d59c27e019547cf80d0ccda12",
    # These read other masks from the same files.
    "grabcut": "b380e6473261c7ddab373d5a4156035a",
    "berkeley": "a6a11c6ce90a71292cef829cf5f450e9",
    "davis": "5d87ed7027331b8a4ab83fbb8bff724f",
    "pascal_part": "c963c2fd8dc119b7a2a283eecefa7a2b",
}


@pytest.fixture
def fingerprint_of(tmp_path):
    def listed(name):
        split, files = FILES[name]
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        return open_dataset(name, str(tmp_path) if files else "", split).fingerprint

    return listed


def test_every_set_has_a_fingerprint_here():
    assert FILES.keys() == DATASETS.keys()


@pytest.mark.parametrize("name", FILES)
def test_fingerprint(name, fingerprint_of):
    assert fingerprint_of(name) == SINCE.get(name, OF_VERSION_0_1_0[name])


@pytest.mark.parametrize("name", SINCE)
def test_no_run_of_version_0_1_0_is_resumed_with_other_masks(name, fingerprint_of):
    assert fingerprint_of(name) != OF_VERSION_0_1_0[name]


def test_every_version_of_a_reading_has_a_fingerprint_of_its_own():
    first = fingerprint([], [ANNOTATION])
    assert first == fingerprint([], [ANNOTATION], 1)
    assert len({first, fingerprint([], [ANNOTATION], 2), fingerprint([], [ANNOTATION], 3)}) == 3
