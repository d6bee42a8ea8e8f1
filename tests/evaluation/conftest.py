"""Tables of an evaluation, written by hand."""

from dataclasses import asdict

import pyarrow as pa
import pytest

from schemas.config import EvaluationConfig
from schemas.resolve import override
from schemas.tables import CLICKS, MASKS, REJECTS, TARGETS


def make_run(ious, granularity=None, chosen=True, areas=None):
    return {"ious": ious, "granularity": granularity, "chosen": chosen, "areas": areas or [100] * len(ious)}


def make_tables(masks):
    """Tables from (image, level, class, area, runs) of each mask; ids are ``<image>:<number>:<level>:0``."""
    clicks, targets = [], []
    for number, (image, level, kind, area, runs) in enumerate(masks):
        target_id = f"{image}:{number}:{level}:0"
        targets.append(
            {
                "target_id": target_id,
                "image_id": image,
                "level": level,
                "class": kind,
                "height": 100,
                "width": 100,
                "area": area,
                "rle": f"of {target_id}".encode(),
                "target": 0.9 if level == "object" else 0.85,
                "sha256": f"of {image}",
            }
        )
        for attempt, run in enumerate(runs):
            for click, (iou, pixels) in enumerate(zip(run["ious"], run["areas"], strict=True), start=1):
                clicks.append(
                    {
                        "target_id": target_id,
                        "image_id": image,
                        "instance_id": number,
                        "level": level,
                        "category": kind,
                        "label": None,
                        "granularity": run["granularity"],
                        "click": click,
                        "iou": iou,
                        "row": 0,
                        "col": 0,
                        "positive": True,
                        "chosen": run["chosen"],
                        "attempt": attempt,
                        "area": pixels,
                    }
                )
    return {
        "objects": pa.Table.from_pylist(clicks, CLICKS),
        "targets": pa.Table.from_pylist(targets, TARGETS),
        "masks": MASKS.empty_table(),
        "rejects": REJECTS.empty_table(),
    }


def make_plan(**changes):
    """The plan of an evaluation; changes: to its configuration, nested."""
    return {
        "config": asdict(override(EvaluationConfig(), changes)),
        "config_hash": "h" * 32,
        "shards": [],
        "dataset": {"name": "sbd", "split": "val", "fingerprint": "f" * 32},
        "model": {"architecture": "toy", "input_size": 32, "sha256": "0" * 64},
    }


@pytest.fixture
def three_masks():
    """Three objects in two images, with NoC@80 1, 2, 20; NoC@85 1, 3, 20; NoC@90 2, 20, 20."""
    return make_tables(
        [
            ("a", "object", "cat", 500, [make_run([0.86, 0.95])]),
            ("a", "object", "dog", 5000, [make_run([0.5, 0.8, *[0.85] * 18])]),
            ("b", "object", "cat", 9216, [make_run([0.0] * 20, areas=[0] * 20)]),
        ]
    )
