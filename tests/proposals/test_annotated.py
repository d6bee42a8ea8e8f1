"""Databases of annotated parts: their rows, from the same estimator as those of proposals."""

from dataclasses import replace

import numpy as np
import pytest

from agg_pipeline.database.contents import CARD, DATABASE_LAYOUT, MANIFEST, SAMPLING_FILE
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.shard_files import PLAN, publish
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals.pipeline import chain, write_shard
from agg_pipeline.storage.store import Store
from schemas.config import ProposalsConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask, Prediction
from stages.granularity import combine

SIDE = 40
MODEL = {"architecture": "toy", "input_size": 32, "sha256": "0" * 64}


def square(top, left, height, width):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + height, left : left + width] = True
    return crop_mask(mask, SIDE, SIDE)


PARTS = (
    PartMask("head", "head", "head", square(4, 4, 12, 12)),
    PartMask("leye", "leye", "left eye", square(6, 6, 3, 3), "head"),
    PartMask("ghost", "ghost", "ghost", square(0, 0, 0, 0)),
    PartMask("all", "all", "all of it", square(4, 4, 30, 30)),
)
THING = ObjectMask(3, "cat", square(4, 4, 30, 30), PARTS)


class Slope:
    """A probability that falls with the distance to the click."""

    def predict(self, interactions):
        rows, cols = np.ogrid[:SIDE, :SIDE]
        box = Box(0, 0, SIDE, SIDE)
        found = []
        for interaction in interactions:
            (click,) = interaction.clicks
            distance = np.hypot(rows - click.row, cols - click.col) / (2 * SIDE)
            found.append(Prediction(Crop(SIDE, SIDE, box, (1 - distance).astype(np.float32)), box))
        return found


def read(entry):
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    return ImageRecord(
        entry.image_id, entry.path, "0" * 64, "none", pixels, (THING, replace(THING, instance_id=4, parts=()))
    )


def made(tmp_path, config):
    entries = (ImageEntry("a", "a.png", 1, None),)
    about = About("toy", "Toy", ("object", "part"), "a licence", "a citation", "a page", (), "")
    dataset = Dataset(about, "val", entries, "f" * 32, read)
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, {"device": "cpu", "torch": "0"}, config)
    store = Store(str(tmp_path))
    store.write_json(PLAN, plan)
    task = ShardTask(0, "toy", entries, read, config)
    shard = run_stages(chain(config).stages, task, Slope())
    publish(store, write_shard(shard, store, stamp_of(DATABASE_LAYOUT, plan)))
    return store


@pytest.fixture(params=sorted(PRESETS))
def config(request):
    return replace(PRESETS[request.param], source="gt")


def test_rows_are_the_parts_with_their_published_labels_and_the_parts_around(tmp_path, config):
    rows = {row["proposal_id"]: row for row in open_proposals(made(tmp_path, config).url).proposals().to_pylist()}
    assert list(rows) == [
        *("a:3:object:0", "a:3:annotated:head", "a:3:annotated:leye", "a:3:annotated:all"),
        "a:4:object:0",
    ]
    assert {row["kind"] for name, row in rows.items() if ":annotated:" in name} == {"annotated"}
    eye, head = rows["a:3:annotated:leye"], rows["a:3:annotated:head"]
    assert (eye["label"], eye["parent_id"], eye["area"]) == ("leye", "a:3:annotated:head", 9)
    assert (head["label"], head["parent_id"], head["category"]) == ("head", "a:3:object:0", "cat")
    assert (eye["step"], eye["clicks"]) == (None, None)
    assert (eye["bbox"]["y"], eye["bbox"]["x"], eye["bbox"]["h"], eye["bbox"]["w"]) == (6, 6, 3, 3)


def test_granularity_is_the_estimators(tmp_path, config):
    for row in open_proposals(made(tmp_path, config).url).proposals().to_pylist():
        if row["kind"] == "annotated":
            expected = combine(row["area"] / 900, row["peak_proposal"], row["peak_object"], config.granularity)
            assert (row["scale"], row["semantic"], row["granularity"]) == pytest.approx(expected)
    by_id = {row["proposal_id"]: row for row in open_proposals(str(tmp_path)).proposals().to_pylist()}
    assert by_id["a:3:annotated:all"]["granularity"] == pytest.approx(1.0)
    assert by_id["a:3:annotated:leye"]["granularity"] < by_id["a:3:annotated:head"]["granularity"] < 1


def test_part_without_a_pixel_is_a_reject(tmp_path, config):
    (row,) = open_proposals(made(tmp_path, config).url).rejects().to_pylist()
    assert (row["image_id"], row["instance_id"], row["reason"], row["stage"]) == ("a", 3, "empty", "load")
    assert "ghost" in row["detail"]


def test_the_database_is_valid_but_for_the_summaries(tmp_path, config):
    found = {finding.where for finding in validate(open_proposals(made(tmp_path, config).url))}
    assert found == {MANIFEST, SAMPLING_FILE, CARD}


def test_source_is_part_of_the_configuration_hash():
    entries = (ImageEntry("a", "a.png", 1, None),)
    about = About("toy", "Toy", ("part",), "", "", "", (), "")
    listed = Dataset(about, "val", entries, "0", read)
    plans = [make_plan(DATABASE_LAYOUT, listed, MODEL, {}, ProposalsConfig(source=source)) for source in ("agg", "gt")]
    assert plans[0]["config_hash"] != plans[1]["config_hash"]
