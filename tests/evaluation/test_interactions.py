"""Which masks are evaluated, how their interactions begin, and how they are cut into batches; a model of numpy."""

import dataclasses

import numpy as np
import pytest

from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.datasets.evaluated_masks import targets_of
from agg_pipeline.evaluation.evaluation_tables import tables
from agg_pipeline.evaluation.interactions import INTERACTIONS, LOAD, load, starts_of
from agg_pipeline.evaluation.run import run
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.job import Progress
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.storage.rle import decode
from schemas.config import EvaluationConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.errors import ImageError, UserError
from schemas.presets import EVALUATION_PRESETS
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask, Prediction
from schemas.resolve import override
from tests.held_memory import arrays_of, peak_bytes

SHAPE = (40, 50)
CONFIG = override(EvaluationConfig(), {"clicks": {"max_clicks": 3}})


def square(top, left, side):
    frame = np.zeros(SHAPE, bool)
    frame[top : top + side, left : left + side] = True
    return crop_mask(frame, *SHAPE)


def read(entry):
    """Two objects, the first with two parts; nothing of the image "none" counts, and "broken" cannot be read."""
    if entry.image_id == "broken":
        raise ImageError("unreadable_image", "made to fail")
    parts = (PartMask("3", "lear", "left ear", square(4, 4, 6)), PartMask("4", "gone", "gone", square(0, 0, 0)))
    objects = (ObjectMask(1, "cat", square(2, 2, 20), parts), ObjectMask(7, None, square(25, 25, 10)))
    ignore = square(0, 0, 40) if entry.image_id == "none" else None
    return ImageRecord(entry.image_id, "a.png", "0", "", np.zeros((*SHAPE, 3), np.uint8), objects, ignore)


def task(*ids, config=CONFIG, limit=None):
    return ShardTask(
        0, "toy", tuple(ImageEntry(name, f"{name}.png", 1, None) for name in ids), read, config, limit=limit
    )


class Disk:
    """Predicts a disk around the last click, of a radius that the granularity says."""

    def __init__(self):
        self.batches = []

    def predict(self, interactions):
        self.batches.append(len(interactions))
        row, col = np.ogrid[: SHAPE[0], : SHAPE[1]]
        box = Box(0, 0, *SHAPE)
        found = []
        for one in interactions:
            click = one.clicks[-1]
            near = np.hypot(row - click.row, col - click.col) < 20 * (one.granularity or 0.2)
            found.append(Prediction(Crop(*SHAPE, box, near.astype(np.float32)), box))
        return found


def test_objects_and_their_parts_are_evaluated():
    shard = load(task("a", "b"))
    ids = [target.target_id for target in shard.targets]
    assert ids == [f"{image}:{rest}" for image in "ab" for rest in ("1:object:0", "1:part:3", "7:object:0")]
    assert [target.wanted_iou for target in shard.targets[:3]] == [0.9, 0.85, 0.9]
    assert [(target.category, target.label, target.class_name) for target in shard.targets[:3]] == [
        ("cat", None, "cat"),
        ("cat", "lear", "cat left ear"),
        (None, None, None),
    ]
    assert [(reject.reason, reject.detail) for reject in shard.rejects] == [
        ("empty_object", f"mask {image}:1:part:4") for image in "ab"
    ]


@pytest.mark.parametrize(("level", "count"), [("all", 4), ("object", 2), ("part", 2)])
def test_level(level, count):
    targets = list(targets_of(read(ImageEntry("a", "", 1, None)), override(CONFIG, {"level": level})))
    assert len(targets) == count
    assert level == "all" or {target.level for target in targets} == {level}


def test_what_cannot_be_evaluated_is_a_reject():
    found = load(dataclasses.replace(task("none", "broken", "dead"), excluded=frozenset({"dead"})))
    # The second object of "none" lies outside of what is ignored in part, the first and its part inside.
    assert [target.target_id for target in found.targets] == []
    assert [reject.reason for reject in found.rejects] == [
        *("all_ignored", "all_ignored", "empty_object", "all_ignored"),
        *("unreadable_image", "killed_worker"),
    ]


def test_limit_takes_the_first_masks():
    whole = load(task("a", "b"))
    for limit in range(1, 8):
        shard = load(task("a", "b", limit=limit))
        assert [t.target_id for t in shard.targets] == [t.target_id for t in whole.targets[:limit]]
        assert shard.whole == (limit > 6)


def dataset_of(*ids):
    entries = tuple(ImageEntry(name, f"{name}.png", 1, None) for name in ids)
    about = About("toy", "Toy", ("object", "part"), "", "", "", (), "")
    return Dataset(about, "val", entries, "f" * 32, read)


def test_modes():
    (target, *_) = load(task("a")).targets

    def starts(**changes):
        return starts_of(target, "toy", override(CONFIG, changes))

    assert [(s.granularity, s.click) for s in starts()] == [(None, None)]
    assert [(s.granularity, s.click) for s in starts(mode="fixed", granularity=0.35)] == [(0.35, None)]
    for mode in ("optimal", "curves"):
        assert [s.granularity for s in starts(mode=mode)] == [n / 10 for n in range(1, 11)]
    per_class = dataclasses.replace(CONFIG, mode="per_class", granularities=(("object", 0.9), ("object:dog", 0.2)))
    assert [s.granularity for s in starts_of(target, "toy", per_class)] == [0.9]
    named = dataclasses.replace(per_class, granularities=(("object", 0.9), ("object:cat", 0.2)))
    assert [s.granularity for s in starts_of(target, "toy", named)] == [0.2]
    jittered = starts(mode="best_of", attempts=4)
    assert len({s.click for s in jittered}) == 4
    assert jittered == starts(mode="best_of", attempts=4)
    assert jittered != starts(mode="best_of", attempts=4, seed=1)
    assert starts(mode="best_of", attempts=2) == jittered[:2]


def test_batches_hold_whole_masks_and_do_not_change_the_result():
    config = override(CONFIG, {"mode": "optimal", "batch": {"batch_objects": 20}})
    model = Disk()
    shard = run_stages([INTERACTIONS], load(task("a", "b", config=config)), model)
    assert model.batches[0] == 20
    alone = override(config, {"batch": {"batch_objects": 1}})
    single = Disk()
    other = run_stages([INTERACTIONS], load(task("a", "b", config=alone)), single)
    assert single.batches[0] == 10
    for ours, theirs in zip(shard.outcomes, other.outcomes, strict=True):
        assert ours.chosen == theirs.chosen
        assert [each.steps for each in ours.attempts] == [each.steps for each in theirs.attempts]


def test_pixels_bound_a_batch():
    config = override(CONFIG, {"batch": {"batch_objects": 100, "batch_pixels": 2 * SHAPE[0] * SHAPE[1]}})
    model = Disk()
    run_stages([INTERACTIONS], load(task("a", config=config)), model)
    assert model.batches[0] == 2


def many_masks(count):
    """A shard of one image with many masks whose boxes fill most of it, all evaluated at ten granularities."""
    config = override(CONFIG, {"mode": "optimal", "batch": {"batch_objects": 10}})
    mask = crop_mask(np.add.outer(np.arange(SHAPE[0]), np.arange(SHAPE[1])) % 60 > 3, *SHAPE)
    objects = tuple(ObjectMask(number, None, mask) for number in range(count))
    record = ImageRecord("a", "a.png", "0", "", np.zeros((*SHAPE, 3), np.uint8), objects)
    return dataclasses.replace(task("a", config=config), read=lambda _entry: record)


def test_peak_of_a_shard_grows_by_packed_masks_only():
    run_stages([LOAD, INTERACTIONS], many_masks(2), Disk())  # so that whatever is made once is there
    few, _ = peak_bytes(lambda: run_stages([LOAD, INTERACTIONS], many_masks(20), Disk()))
    many, shard = peak_bytes(lambda: run_stages([LOAD, INTERACTIONS], many_masks(60), Disk()))
    assert [sum(len(attempt.steps) for attempt in outcome.attempts) > 10 for outcome in shard.outcomes] == [True] * 60
    # Ten interactions with their clicks, and two predicted masks each, whose boxes hold about the pixels of 11 frames.
    assert many - few < 40 * 6 * SHAPE[0] * SHAPE[1]
    assert {array.shape for array in arrays_of(shard.outcomes).values()} == {(250,)}


def test_rows():
    config = override(CONFIG, {"mode": "optimal"})
    shard = run_stages([INTERACTIONS], load(task("a", config=config)), Disk())
    found = tables(shard)
    clicks = found["objects"].to_pylist()
    for target, outcome in zip(found["targets"].to_pylist(), shard.outcomes, strict=True):
        own = [row for row in clicks if row["target_id"] == target["target_id"]]
        assert {row["granularity"] for row in own} == {n / 10 for n in range(1, 11)}
        (chosen,) = {row["granularity"] for row in own if row["chosen"]}
        assert chosen == outcome.attempts[outcome.chosen].start.granularity
        assert all(row["iou"] < target["target"] for row in own if not row["chosen"])
    assert [row["area"] for row in found["targets"].to_pylist()] == [400, 36, 100]
    for row in found["masks"].to_pylist():
        mask = decode(row["rle"], *SHAPE)
        (click,) = [
            each
            for each in clicks
            if (each["target_id"], each["attempt"], each["click"]) == (row["target_id"], row["attempt"], row["click"])
        ]
        assert np.count_nonzero(mask) == click["area"]


def test_released_preset_is_the_slip_and_the_bins():
    released = EVALUATION_PRESETS["released"]
    assert (released.clicks.carry_roi, released.predictor.bins, released.predictor.flip) == (True, "released", True)
    assert EvaluationConfig().predictor.flip
    assert not EvaluationConfig().clicks.carry_roi


def test_sample_of_limited_images_is_refused(tmp_path):
    config = override(CONFIG, {"sample": 1})
    with pytest.raises(UserError, match="--limit-images"):
        run(dataset_of("a"), "", "", config, None, RunOptions(str(tmp_path), limit_images=1), Progress())


def test_level_that_a_set_does_not_have_is_refused(tmp_path):
    objects = dataclasses.replace(dataset_of("a"), about=About("toy", "", ("object",), "", "", "", (), ""))
    with pytest.raises(UserError, match="no masks for --level part; possible: object"):
        run(objects, "", "", override(CONFIG, {"level": "part"}), None, RunOptions(str(tmp_path)), Progress())
