"""Which evaluated masks are drawn, and what is said of those that are not."""

from dataclasses import replace

import pyarrow as pa
import pytest

from agg_pipeline.datasets.evaluated_masks import targets_of
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.evaluation.evaluation_page import write_report
from agg_pipeline.evaluation.mask_pictures import MaskPicture, mask_picture
from agg_pipeline.evaluation.mask_results import masks_of
from agg_pipeline.evaluation.results_folder import Evaluation
from agg_pipeline.evaluation.summary import metric_settings, summarise
from agg_pipeline.storage.rle import encode
from agg_pipeline.storage.store import Store
from schemas.config import EvaluationConfig
from schemas.errors import ImageError
from schemas.tables import MASKS
from tests.evaluation.conftest import make_plan, make_run, make_tables

DATASET = open_dataset("demo", "", "1")
RECORD = DATASET.read(DATASET.entries[0])
TARGET = next(iter(targets_of(RECORD, EvaluationConfig())))


@pytest.fixture
def tables():
    """One object, found exactly with one click."""
    made = make_tables([(RECORD.image_id, "object", TARGET.class_name, 100, [make_run([1.0])])])
    of = {"target_id": TARGET.target_id}
    changed = of | {"sha256": RECORD.sha256, "rle": encode(TARGET.truth)}
    made["targets"] = pa.Table.from_pylist([made["targets"].to_pylist()[0] | changed], made["targets"].schema)
    made["objects"] = pa.Table.from_pylist([made["objects"].to_pylist()[0] | of], made["objects"].schema)
    made["masks"] = pa.Table.from_pylist(
        [of | {"attempt": 0, "granularity": None, "click": 1, "rle": encode(TARGET.truth)}], MASKS
    )
    return made


def broken(_entry):
    raise ImageError("unreadable_image", "1.png does not exist")


CHANGED = {
    "the image has changed since it was evaluated": lambda _entry: replace(RECORD, sha256="0" * 64),
    "the mask has changed since it was evaluated": lambda _entry: replace(
        RECORD, objects=(replace(RECORD.objects[0], mask=RECORD.objects[0].parts[0].mask), *RECORD.objects[1:])
    ),
    "the data set does not have it any more": lambda _entry: replace(RECORD, objects=()),
    "1.png does not exist": broken,
}


def drawn(tables, dataset):
    (mask,) = masks_of(tables["targets"], tables["objects"])
    entries = {entry.image_id: entry for entry in dataset.entries}
    return mask_picture(mask, tables, dataset, entries, metric_settings(make_plan()))


def test_an_unchanged_mask_is_drawn(tables):
    picture = drawn(tables, DATASET)
    assert isinstance(picture, MaskPicture)
    assert picture.truth == picture.predicted


@pytest.mark.parametrize("why", CHANGED)
def test_a_mask_that_is_another_one_now_becomes_a_line(tables, why):
    assert drawn(tables, replace(DATASET, reader=CHANGED[why])) == f"{TARGET.target_id}: {why}"


def test_a_mask_of_an_image_that_is_not_listed_any_more_becomes_a_line(tables):
    gone = drawn(tables, replace(DATASET, entries=()))
    assert gone == f"{TARGET.target_id}: the data set does not list its image any more"


@pytest.mark.parametrize("why", [None, "the image has changed since it was evaluated"])
def test_the_page_shows_the_line_and_a_warning_tells_it(tables, tmp_path, caplog, why):
    summary = summarise(tables, make_plan())
    evaluation = Evaluation(Store(str(tmp_path)), tables, summary, None, 1)
    write_report(evaluation, replace(DATASET, reader=CHANGED[why]) if why else DATASET, 4, False)
    page = (tmp_path / "report.html").read_text()
    line = f"{TARGET.target_id}: {why}"
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ([f"1 mask cannot be drawn: {line}"] if why else [])
    assert (line in page) == bool(why)
    assert ("data:image/" in page) != bool(why)
