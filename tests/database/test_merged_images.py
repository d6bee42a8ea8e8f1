"""Which images of several databases are the same."""

from dataclasses import replace

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.derived import derived_plan, pieces, source_runs, write_derived
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.same_image import renamed
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.resolve import override, validated
from tests.database.changed_rows import changed
from tests.toy_run import ENVIRONMENT, MODEL, make_config, make_dataset, run_shards, write_database

FALLEN = "im_6"
"""The image of the toy set that cannot be read."""
SHA256 = f"{5:064x}"
"""Of the image that takes its place."""


def readable(entry):
    """The record of an image of the toy set; that which cannot be read is another photograph."""
    if entry.image_id != FALLEN:
        return make_dataset().read(entry)
    record = make_dataset().read(replace(entry, annotation=5))
    return replace(record, image_id=FALLEN, path=entry.path)


@pytest.fixture(scope="module")
def run_over(tmp_path_factory):
    """Makes a database of a run over two images of the toy set."""

    def made(name, reader, data, seed=0):
        dataset = replace(make_dataset(), reader=reader, fingerprint=data * 32)
        dataset = replace(dataset, entries=tuple(each for each in dataset.entries if each.image_id in ("im_0", FALLEN)))
        config, store = validated(override(make_config(), {"seed": seed})), Store(str(tmp_path_factory.mktemp(name)))
        plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
        write_database(store, plan, run_shards(dataset, config))
        finish(store, plan, sidecars(store, DATABASE_LAYOUT))
        return open_proposals(store.url)

    return made


@pytest.fixture(scope="module")
def broken(run_over):
    """A database of whose images one fell out."""
    return run_over("broken", make_dataset().reader, "a")


@pytest.fixture(scope="module")
def other(run_over):
    """A database of other data that has a photograph under the id of that image."""
    return run_over("other", readable, "b")


def said_of(database):
    """The sha256 of each image that could be used, and the reasons for which images fell out."""
    rejects = database.table("rejects").to_pylist()
    return (
        {row["image_id"]: row["sha256"] for row in database.images().to_pylist() if row["image_id"] != "im_0"},
        {row["image_id"]: row["reason"] for row in rejects if row["instance_id"] is None},
    )


def test_an_image_that_fell_out_is_not_taken_for_one_of_other_data(broken, other, tmp_path):
    run = source_runs(broken)[0]["id"]
    cases = (
        ([broken, other], f"{FALLEN}~{SHA256[:8]}", FALLEN),
        ([other, broken], FALLEN, f"{FALLEN}~{run[:8]}"),
    )
    for number, (order, photograph, dropped) in enumerate(cases):
        first, second = (database.store.url for database in order)
        said = (
            f"^image {FALLEN} of {second} may be another one than that of {first}, because it could not be used in one"
        )
        with pytest.raises(UserError, match=said):
            merge(order, str(tmp_path / "refused"))
        merged = merge(order, str(tmp_path / str(number)), conflicts="rename")
        assert list(validate(merged)) == []
        assert said_of(merged) == ({photograph: SHA256}, {dropped: "unreadable_image"})
        again = merge([merged, *order], str(tmp_path / f"{number}-again"), conflicts="rename")
        assert database_id(again) == database_id(merged)


def test_images_that_fell_out_of_other_data_are_not_the_same(broken, run_over, tmp_path):
    second = run_over("second", make_dataset().reader, "c")
    with pytest.raises(UserError, match=f"image {FALLEN} of .* may be another one"):
        merge([broken, second], str(tmp_path / "refused"))
    merged = merge([broken, second], str(tmp_path / "merged"), conflicts="rename")
    assert len(said_of(merged)[1]) == 2


def test_an_image_that_fell_out_is_the_same_in_another_run_over_the_same_data(broken, run_over, tmp_path):
    seeded = run_over("seeded", make_dataset().reader, "a", seed=1)
    assert said_of(merge([broken, seeded], str(tmp_path / "fallen"))) == ({}, {FALLEN: "unreadable_image"})
    intact = run_over("intact", readable, "a", seed=1)
    for name, order in (("bi", [broken, intact]), ("ib", [intact, broken])):
        merged = merge(order, str(tmp_path / name))
        assert list(validate(merged)) == []
        assert said_of(merged) == ({FALLEN: SHA256}, {FALLEN: "unreadable_image"})
        again = merge([merged, *order], str(tmp_path / f"{name}-again"))
        assert database_id(again) == database_id(merged)


def test_what_fell_out_of_the_same_data_may_be_known_from_an_earlier_database(broken, other, run_over, tmp_path):
    """Of three databases, the second says which image it is, and the third has another one."""
    intact = run_over("known", readable, "a", seed=1)
    foreign = changed(other, str(tmp_path / "foreign"), "images", lambda row: row | {"sha256": f"f{row['sha256'][1:]}"})
    merged = merge([broken, intact, other], str(tmp_path / "same"))
    assert said_of(merged)[0] == {FALLEN: SHA256}
    with pytest.raises(UserError, match="has other content than that of"):
        merge([broken, intact, foreign], str(tmp_path / "refused"))


def test_images_of_unknown_files_that_were_renamed_are_the_same_again(broken, tmp_path):
    unknown = changed(broken, str(tmp_path / "unknown"), "images", lambda row: row | {"sha256": ""})
    merged = merge([broken, unknown], str(tmp_path / "merged"), conflicts="rename")
    again = merge([merged, unknown], str(tmp_path / "again"), conflicts="rename")
    assert database_id(again) == database_id(merged)


def test_two_photographs_that_show_the_same_stay_two(other, tmp_path):
    """In one database under two ids, and in another one under two others."""
    same = changed(other, str(tmp_path / "same"), "images", lambda row: row | {"sha256": "a" * 64})
    tables = with_other_ids(same, str(tmp_path / "renamed"))
    merged = merge([same, tables], str(tmp_path / "merged"))
    assert sorted(row["image_id"] for row in merged.images().to_pylist()) == ["im_0", FALLEN]
    assert database_id(merged) == database_id(same)


def with_other_ids(database, out):
    """A copy of a database under other ids of images."""
    (piece,) = pieces(database)
    for image_id in piece.images:
        piece = renamed(piece, image_id, f"x_{image_id}")
    return write_derived(out, derived_plan([database], source_runs(database), "rename", {}), [piece])
