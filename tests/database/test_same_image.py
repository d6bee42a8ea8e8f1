"""Which objects and masks of an image are the same in several databases."""

from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.derived import Piece, pieces
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.recomputing import granularity_config
from agg_pipeline.database.same_image import SAME_OBJECT, SourceRun, merged_image, same_objects
from agg_pipeline.database.selecting import filter_database
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.storage.rle import decode_crop, encode
from agg_pipeline.storage.store import Store
from schemas.crop import crop_mask, iou
from schemas.resolve import override, validated
from schemas.tables import FILES
from tests.toy_run import ENVIRONMENT, MODEL, make_config, make_dataset, run_shards, write_database


def rectangle(rows, cols=100):
    """A mask of 120 x 120 pixels."""
    mask = np.zeros((120, 120), bool)
    mask[:rows, :cols] = True
    return crop_mask(mask, *mask.shape)


@pytest.mark.parametrize(
    ("objects", "earlier", "expected"),
    [
        ({1: 100, 2: 99}, {1: 100, 2: 99}, {1: 1, 2: 2}),
        ({1: 99, 2: 100}, {1: 100, 2: 99}, {1: 2, 2: 1}),
        ({1: 100}, {2: 100, 3: 100}, {1: 2}),
        ({3: 100}, {2: 100, 3: 100}, {3: 3}),
        ({1: 100, 2: 100, 3: 100}, {2: 100, 7: 100}, {2: 2, 1: 7}),
        ({1: 99, 2: 100}, {5: 100}, {2: 5}),
        ({1: 98, 2: 99}, {5: 97, 6: 100}, {1: 5, 2: 6}),
        ({2: 99}, {1: 100, 2: 100}, {2: 2}),
        ({1: 100}, {1: 98}, {}),
        ({1: 100}, {}, {}),
        ({}, {1: 100}, {}),
    ],
    ids=str,
)
def test_objects_are_paired_one_to_one_and_the_most_similar_ones_first(objects, earlier, expected):
    masks = [{number: rectangle(rows) for number, rows in each.items()} for each in (objects, earlier)]
    assert same_objects(*masks) == expected


def similar_objects(entry, order=(1, 2), rows=1):
    """The record of an image of the toy set with two objects whose IoU is above 0.98, and numbers of them."""
    record = make_dataset().read(entry)
    (first, *_) = record.objects
    mask = first.mask.full()
    mask[60 - rows : 60] = False
    other = crop_mask(mask, *mask.shape)
    assert SAME_OBJECT < iou(first.mask, other) < 1
    both = zip(order, (first.mask, other), strict=True)
    objects = sorted((replace(first, instance_id=number, mask=of) for number, of in both), key=lambda o: o.instance_id)
    return replace(record, objects=tuple(objects))


def run_of(reader, folder, seed=0):
    """A database of a run over three images of the toy set."""
    dataset = replace(make_dataset(), reader=reader, fingerprint="0" * 32)
    dataset = replace(dataset, entries=dataset.entries[:3])
    config, store = validated(override(make_config(), {"seed": seed})), Store(str(folder))
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    write_database(store, plan, run_shards(dataset, config))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    return open_proposals(store.url)


@pytest.fixture(scope="module")
def similar(tmp_path_factory):
    """A database whose images have two objects that are nearly the same."""
    return run_of(similar_objects, tmp_path_factory.mktemp("similar") / "database")


def test_a_database_with_similar_objects_merged_with_itself_is_that_database(similar, tmp_path):
    merged = merge([similar, similar], str(tmp_path / "merged"))
    assert database_id(merged) == database_id(similar)
    assert list(validate(merged)) == []
    first = filter_database(similar, str(tmp_path / "first"), "instance_id = 1")
    for name, order in (("ab", [first, similar]), ("ba", [similar, first])):
        assert merge(order, str(tmp_path / name)).proposals().num_rows == similar.proposals().num_rows


def test_masks_come_under_the_object_that_theirs_is_identical_with(similar, tmp_path):
    """Another laboratory numbers the two objects the other way round."""
    swapped = run_of(partial(similar_objects, order=(2, 1)), tmp_path / "swapped", seed=1)
    merged = merge([similar, swapped], str(tmp_path / "merged"), "keep")
    assert list(validate(merged)) == []
    number = {1: 2, 2: 1}
    columns = ("image_id", "instance_id", "step", "rle")
    masks = [row for row in swapped.proposals().to_pylist() if row["kind"] != "object"]
    assert values(merged, "proposals", columns, 1) == sorted(
        (row["image_id"], number[row["instance_id"]], row["step"], row["rle"]) for row in masks
    )
    columns = ("image_id", "instance_id", "step", "reason")
    rejects = swapped.table("rejects").to_pylist()
    assert {row["instance_id"] for row in rejects} == {1, 2}
    assert values(merged, "rejects", columns, 1) == sorted(
        (row["image_id"], number[row["instance_id"]], row["step"], row["reason"]) for row in rejects
    )


def values(database, table, columns, source):
    """Some columns of the rows of a source, sorted."""
    rows = (row for row in database.table(table).to_pylist() if row["source"] == source)
    return sorted(tuple(row[column] for column in columns) for row in rows)


def test_an_object_without_a_partner_gets_a_number_that_no_object_has_and_no_reject(similar):
    """Rejects of objects without a row keep their numbers."""
    piece = next(pieces(similar))
    row = next(row for row in piece.tables["proposals"].to_pylist() if row["kind"] == "object")
    image = row["image_id"]
    reject = dict.fromkeys(FILES["rejects"].names) | {
        "image_id": image,
        "stage": "load",
        "reason": "empty_object",
        "source": 0,
    }

    def made(objects, rejects=()):
        rows = [
            row | {"proposal_id": f"{image}:{number}:object:0", "instance_id": number, "rle": encode(rectangle(rows))}
            for number, rows in objects.items()
        ]
        rows = [row | {"height": 120, "width": 120} for row in rows]
        tables = {
            "proposals": pa.Table.from_pylist(rows, FILES["proposals"]),
            "images": piece.tables["images"].slice(0, 1),
            "rejects": pa.Table.from_pylist([reject | {"instance_id": number} for number in rejects], FILES["rejects"]),
        }
        return Piece((image,), tables)

    runs = [SourceRun(b"", granularity_config(similar.sources[0]), "")]
    merged = merged_image([made({1: 10}), made({1: 20, 2: 30}, [3]), made({9: 20, 2: 40, 1: 50})], "drop", runs)
    rows = merged.tables["proposals"].to_pylist()
    found = {row["instance_id"]: decode_crop(row["rle"], 120, 120).box.height for row in rows}
    assert found == {1: 10, 4: 20, 2: 30, 5: 40, 6: 50}
    assert {row["proposal_id"] for row in rows} == {f"{image}:{number}:object:0" for number in found}


def test_a_mask_that_repeats_two_is_the_more_similar_one(similar):
    """What lies in it keeps the right parent."""
    piece = next(pieces(similar))
    row = next(row for row in piece.tables["proposals"].to_pylist() if row["kind"] == "object")
    row = row | {"height": 120, "width": 120}
    place = f"{row['image_id']}:1:"

    def made(parts):
        rows = [row | {"proposal_id": f"{place}object:0", "instance_id": 1, "rle": encode(rectangle(119))}]
        for name, (rows_of_mask, parent) in parts.items():
            mask = encode(rectangle(rows_of_mask))
            of = {"proposal_id": f"{place}annotated:{name}", "kind": "annotated", "parent_id": place + parent}
            rows.append(rows[0] | of | {"rle": mask, "peak_proposal": None})
        tables = {
            "proposals": pa.Table.from_pylist(rows, FILES["proposals"]),
            "images": piece.tables["images"].slice(0, 1),
            "rejects": FILES["rejects"].empty_table(),
        }
        return Piece((row["image_id"],), tables)

    first = made({"a": (100, "object:0"), "b": (98, "object:0")})
    second = made({"c": (97, "object:0"), "d": (98, "object:0"), "e": (50, "annotated:c"), "f": (40, "annotated:d")})
    runs = [SourceRun(b"", granularity_config(similar.sources[0]), "")]
    rows = merged_image([first, second], "drop", runs).tables["proposals"].to_pylist()
    parents = {row["proposal_id"].removeprefix(place): row["parent_id"] for row in rows}
    assert list(parents) == ["object:0", "annotated:a", "annotated:b", "annotated:e", "annotated:f"]
    assert parents["annotated:e"] == parents["annotated:f"] == f"{place}annotated:b"
