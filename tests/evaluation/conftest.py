"""Tables of an evaluation, written by hand."""

from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.storage.store import Store
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


NEEDED = {
    "base": (12, 18),
    "best-of-10": (11, 15),
    "optimal": (9, 6),
    "by-class": (20, 8),
    "whole": (10, 20),
}
"""Clicks that each evaluation needs for an object and for a part."""


def run_of(clicks, target, granularity, chosen=True):
    return make_run([0.1] * (clicks - 1) + [target + 0.01], granularity, chosen)


def runs_of(clicks, target, granularity, optimal):
    if not optimal:
        return [run_of(clicks, target, granularity)]
    return [run_of(clicks + (g != 4), target, g / 10, g == 4) for g in range(1, 11)]


def curves():
    """A head is found best at 0.3, an ear at 0.1."""
    masks = []
    for kind, best in (("head", 0.3), ("ear", 0.1)):
        runs = [run_of(2 if g / 10 == best else 5, 0.85, g / 10, g / 10 == best) for g in range(1, 11)]
        masks.append(("a", "part", kind, 300, runs))
    return make_tables(masks)


def write_results(folder, name, config):
    """The results of an evaluation of this name: one object and one part, that need so many clicks."""
    if name == "curves":
        tables = curves()
    else:
        granularity = {"by-class": 0.3, "whole": 1.0}.get(name)
        in_object, in_part = NEEDED[name]
        tables = make_tables(
            [
                ("a", "object", "cat", 300, runs_of(in_object, 0.9, granularity, name == "optimal")),
                ("a", "part", "head", 300, runs_of(in_part, 0.85, granularity, name == "optimal")),
            ]
        )
        if config.level != "all":
            for table in ("objects", "targets"):
                tables[table] = tables[table].filter(pc.equal(tables[table]["level"], config.level))
    store = Store(folder)
    for table, content in tables.items():
        store.write(f"{table}.parquet", parquet_bytes(content))
    store.write_json("summary.json", summarise(tables, make_plan() | {"config": asdict(config)}))
