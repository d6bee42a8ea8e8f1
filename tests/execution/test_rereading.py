"""Images that could not be read are read again when a run is resumed."""

import dataclasses

import pyarrow as pa
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.execution.job import tasks_of
from agg_pipeline.execution.rereading import changed_rejects
from agg_pipeline.execution.shard_files import parquet_bytes, sidecars
from schemas.errors import ImageError, StorageError
from schemas.tables import REJECTS


def reject(image_id, reason, **changes):
    row = {"image_id": image_id, "instance_id": None, "step": None, "stage": "load", "reason": reason, "detail": "x"}
    return row | changes


@pytest.fixture
def resumed(built, toy_dataset, toy_config, tmp_path):
    """What is found when the toy run is resumed, given the rejects of its second shard and how its images read."""

    def find(rows, **fails):
        path = "rejects/part-00001.parquet"
        built.write(path, parquet_bytes(pa.Table.from_pylist(rows, REJECTS)))
        found = sidecars(built, DATABASE_LAYOUT)
        found[1]["rejects"] = {row["reason"]: 1 for row in rows}
        asked = tmp_path / "asked"
        asked.write_text("")

        def reader(entry):
            # In a process of its own.
            with asked.open("a") as file:
                print(entry.image_id, file=file)
            if entry.image_id in fails:
                raise fails[entry.image_id]
            return toy_dataset.reader(entry)

        tasks = tasks_of(dataclasses.replace(toy_dataset, reader=reader), toy_config, 3, None)[:2]
        return changed_rejects(built, tasks, found), asked.read_text().split()

    return find


def images(toy_dataset):
    return [entry.image_id for entry in toy_dataset.entries[3:6]]


@pytest.mark.parametrize("reason", ["unreadable_image", "unreadable_annotation", "size_mismatch"])
def test_an_image_that_can_be_read_now_makes_its_shard_again(resumed, toy_dataset, reason):
    first, *_ = images(toy_dataset)
    again, asked = resumed([reject(first, reason)])
    assert (again, asked) == ({1}, [first])


def test_an_image_that_still_cannot_be_read_stays(resumed, toy_dataset):
    first, second, _ = images(toy_dataset)
    error = ImageError("unreadable_image", "in other words")
    again, asked = resumed(
        [reject(first, "unreadable_image"), reject(second, "small", instance_id=1)], **{first: error}
    )
    assert (again, asked) == (set(), [first])


def test_another_reason_is_another_result(resumed, toy_dataset):
    first, *_ = images(toy_dataset)
    error = ImageError("size_mismatch", "x")
    assert resumed([reject(first, "unreadable_image")], **{first: error})[0] == {1}


def test_an_image_that_cannot_be_read_now_stops_the_run(resumed, toy_dataset):
    first, *_ = images(toy_dataset)
    with pytest.raises(StorageError, match="no mount"):
        resumed([reject(first, "unreadable_image")], **{first: StorageError("no mount")})


@pytest.mark.parametrize("reason", ["no_object", "killed_worker"])
def test_other_rejects_are_not_read_again(resumed, toy_dataset, reason):
    first, *_ = images(toy_dataset)
    assert resumed([reject(first, reason)]) == (set(), [])
