"""No image that the study evaluates on was learnt from, of any size or mirrored, but for what it leaves out."""

import cv2
import numpy as np

from agg_pipeline.cli.study import read_config
from agg_pipeline.datasets.registry import known_dataset, open_dataset

SIDE = 24
SAME = 0.95
"""Correlation above which two images are the same photograph; others reach 0.83."""


def thumbnails(root, entries):
    """Colours of each image at ``SIDE`` pixels, without their mean and of length 1: (N, SIDE, SIDE, 3)."""
    made = []
    for entry in entries:
        pixels = cv2.imread(str(root / entry.path), cv2.IMREAD_REDUCED_COLOR_4)
        small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        made.append((small - small.mean()) / np.linalg.norm(small - small.mean()))
    return np.stack(made)


def test_images_that_were_learnt_from_are_left_out(shared):
    data = shared / "data"
    roots = {"sbd": "sbd-mini", "grabcut": "grabcut-mini", "pascal_part": "pascal-part-mini"}
    learnt = thumbnails(data / "sbd-mini", open_dataset("sbd", str(data / "sbd-mini"), "train").entries)
    turned = np.concatenate([learnt, learnt[:, :, ::-1]]).reshape(2 * len(learnt), -1)
    config = read_config("full", {})
    # The images of parts-mini are those of sbd-mini, in the same splits.
    assert set(config.sets) == {*roots, "partimagenet", "demo"}
    found = []
    for name, folder in roots.items():
        entries = open_dataset(name, str(data / folder), known_dataset(name).evaluation_split).entries
        likest = (thumbnails(data / folder, entries).reshape(len(entries), -1) @ turned.T).max(axis=1)
        found += [entry.image_id for entry, value in zip(entries, likest, strict=True) if value > SAME]
    assert tuple(found) == config.leave_out
