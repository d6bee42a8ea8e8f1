"""The released preset against masks and granularities that the authors' program made."""

import json

import pytest

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.checkpoints import load_click_model
from agg_pipeline.storage.rle import decode
from schemas.crop import area
from schemas.presets import PRESETS
from schemas.records import Click, Query, Target
from stages.complement import add_complements
from stages.granularity import estimate
from stages.mask_engine import simulate
from stages.postprocess import postprocess

RELEASED = PRESETS["released"]
pytestmark = pytest.mark.golden


def released(shared, recorded):
    """Image -> (estimates by kind, reject reasons) of the recorded objects, all in one batch."""
    network, _ = load_click_model(shared / "checkpoints" / "xtiny448.pth")
    predictor = Predictor(network, RELEASED.predictor)
    dataset = open_dataset("sbd", str(shared / "data" / "sbd-mini"), "val")
    entries = {entry.image_id: entry for entry in dataset.entries}
    targets, pixels = {}, {}
    for name in recorded:
        record = dataset.read(entries[name])
        (thing,) = (item for item in record.objects if item.instance_id == recorded[name]["instance"])
        targets[name], pixels[name] = Target(record.summary, thing), record.pixels

    def draw(target, _pixels, step, _mask, _earlier):
        return Click(*recorded[target.image.image_id]["clicks"][step])

    lengths = [len(recorded[name]["clicks"]) - 1 for name in recorded]
    loops = simulate(list(targets.values()), list(pixels.values()), lengths, predictor, RELEASED.loop, draw)
    proposals = [
        add_complements(postprocess([loop], RELEASED.masks, 0, "sbd"), RELEASED.masks, 0, "sbd") for loop in loops
    ]
    queries = [Query(item.target, "part", part) for item in proposals for part in item.parts]
    queries += [Query(item.target, "complement", part) for item in proposals for part in item.complements]

    def choose(query):
        clicks = recorded[query.target.image.image_id]["estimator_clicks"]
        return tuple(clicks[0 if query.kind == "part" else 1])

    of_queries = [pixels[query.target.image.image_id] for query in queries]
    estimates = estimate(queries, of_queries, predictor, RELEASED.granularity, choose)
    return {
        name: (
            {found.query.kind: found for found in estimates if found.query.target is target},
            [reject.reason for reject in item.rejects],
        )
        for name, target, item in zip(recorded, targets.values(), proposals, strict=True)
    }


def near_a_tie(value):
    """Whether a value is within 0.001 of where its rounding to 0.1 turns."""
    return abs((10 * value) % 1 - 0.5) < 0.01


def check(found, counts, pair):
    expected = decode(counts["counts"].encode(), *counts["size"])
    mask = found.mask.full()
    assert (mask & expected).sum() / (mask | expected).sum() >= 0.99
    semantic, scale = pair
    query = found.query
    before = area(query.part.mask) / area(query.target.object.mask)
    assert found.scale == scale or near_a_tie(before)
    assert found.semantic == semantic or near_a_tie(found.peak_proposal / found.peak_object)


def test_masks_and_granularities_are_the_released_ones(shared):
    objects = json.loads((shared / "golden" / "agg_released.json").read_text())
    recorded = {item["image"]: item for item in objects}
    assert len(recorded) == 12
    made = released(shared, recorded)
    for name, item in recorded.items():
        found, reasons = made[name]
        check(found["part"], item["proposal"], item["proposal_semantic_scale"])
        if item["complement"] is None:
            assert "complement" not in found
            assert reasons == ["small"]
        else:
            check(found["complement"], item["complement"], item["complement_semantic_scale"])
            assert reasons == []
    # Each kind of case is there: dropped complements, a proposal that outgrew its object, clipped and lower semantics.
    parts = [found["part"] for found, _ in made.values()]
    assert 0 < sum("complement" in found for found, _ in made.values()) < 12
    assert any(part.mask is part.query.target.object.mask for part in parts)
    assert any(part.semantic < part.scale for part in parts)
    assert any(part.semantic > part.scale for part in parts)
