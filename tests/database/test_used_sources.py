"""Runs of which a database has no row: no command leaves them behind, and they make no difference."""

from dataclasses import replace

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.derived import derived_plan, pieces, source_runs, write_derived
from agg_pipeline.database.differences import compare
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.selecting import filter_database, split_database
from agg_pipeline.database.used_sources import renumbered, used_sources
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.storage.store import Store
from schemas.resolve import override, validated
from schemas.tables import FILES
from tests.database.changed_rows import changed
from tests.toy_run import ENVIRONMENT, MODEL, make_config, make_database, make_dataset, run_shards, write_database

EVEN, ODD = ["im_0", "im_2", "im_4", "im_6"], ["im_1", "im_3", "im_5", "im_7"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The toy database."""
    return open_proposals(make_database(tmp_path_factory.mktemp("whole")).url)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run over the same images with another seed, another model and another licence."""
    store, dataset = Store(str(tmp_path_factory.mktemp("other"))), make_dataset()
    dataset = replace(dataset, about=replace(dataset.about, licence="another licence"))
    config = validated(override(make_config(), {"seed": 1}))
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL | {"architecture": "other"}, ENVIRONMENT, config)
    write_database(store, plan, run_shards(dataset, config))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    return open_proposals(store.url)


@pytest.fixture(scope="module")
def halves(whole, other, tmp_path_factory):
    """Half of the images of each run."""
    root = tmp_path_factory.mktemp("halves")
    return filter_database(whole, str(root / "even"), images=EVEN), filter_database(
        other, str(root / "odd"), images=ODD
    )


@pytest.fixture(scope="module")
def merged(halves, tmp_path_factory):
    """Both halves."""
    return merge(halves, str(tmp_path_factory.mktemp("merged") / "database"))


def numbers_in(database):
    return {number for name in FILES for number in database.table(name)["source"].to_pylist()}


def with_unused(database, out, places):
    """A copy of a database whose plan lists further runs, as of an earlier version of this program.

    Args:
        database: the database, of one run.
        out: folder of the copy.
        places: all runs; the one of the rows is None.
    """
    (run,) = source_runs(database)
    plan = derived_plan([database], [each or run for each in places], "change", {})
    made = (renumbered(piece, {0: places.index(None)}) for piece in pieces(database))
    return write_derived(out, plan, made)


def test_each_part_of_a_split_has_the_runs_of_its_rows(halves, merged, tmp_path):
    outs = [str(tmp_path / name) for name in ("even", "odd")]
    for half, part in zip(halves, split_database(merged, outs, [EVEN, ODD]), strict=True):
        assert part.plan["sources"] == half.plan["sources"]
        assert numbers_in(part) == {0}
        assert part.proposals().equals(half.proposals())
        assert database_id(part) == database_id(half)
        assert not compare(half, part).any
        assert list(validate(open_proposals(part.store.url))) == []
    card, manifest = (part.store.read(name).decode() for name in ("README.md", "manifest.json"))
    assert "another licence" in card
    assert '"a licence"' not in manifest
    mixed = split_database(merged, [str(tmp_path / "mixed")], [["im_3", "im_4"]])[0]
    assert mixed.plan["sources"] == merged.plan["sources"]


def test_runs_are_numbered_anew_in_their_order(merged, other, tmp_path):
    both = merge([merged, other], str(tmp_path / "both"), "keep")
    assert len(both.sources) == 2
    third = [run | {"id": "f" * 64} for run in source_runs(other)]
    plan = derived_plan([both], [*third, *source_runs(both)], "change", {})
    later = write_derived(str(tmp_path / "later"), plan, (renumbered(piece, {0: 1, 1: 2}) for piece in pieces(both)))
    assert used_sources(later) == [1, 2]
    kept = filter_database(later, str(tmp_path / "kept"), images=[*EVEN, *ODD])
    assert kept.plan["sources"] == both.plan["sources"]
    assert kept.proposals()["source"].equals(both.proposals()["source"])
    assert database_id(kept) == database_id(both)
    assert list(validate(open_proposals(kept.store.url))) == []


def test_a_filter_keeps_the_runs_of_images_and_rejects_without_a_mask(merged, tmp_path):
    rows = {row["proposal_id"] for row in merged.proposals().to_pylist() if row["source"] == 0}
    assert rows
    made = filter_database(merged, str(tmp_path / "made"), "source = 1")
    assert numbers_in(made) == set(range(len(made.plan["sources"]))) == {0}
    assert [run["model"]["architecture"] for run in made.sources] == ["other"]
    rejects = [row for row in merged.rejects().to_pylist() if row["image_id"] == "im_6"]
    assert rejects
    only_rejects = filter_database(merged, str(tmp_path / "rejects"), images=["im_6"])
    assert only_rejects.rejects().num_rows == len(rejects)
    assert [run["model"]["architecture"] for run in only_rejects.sources] == ["toy"]


@pytest.mark.parametrize("first", [True, False])
def test_runs_without_rows_do_not_differ(whole, other, tmp_path, first):
    (run,) = source_runs(other)
    strange = run | {"dataset": run["dataset"] | {"layout": "sbd"}}
    old = with_unused(whole, str(tmp_path / "old"), [strange, None] if first else [None, strange])
    assert database_id(old) == database_id(whole)
    assert used_sources(old) == ([1] if first else [0])
    assert used_sources(whole) == [0]
    for pair in ((whole, old), (old, whole), (old, old)):
        found = compare(*pair)
        assert (found.any, found.configuration) == (False, [])
    recategorized = changed(
        whole, str(tmp_path / "other"), "proposals", lambda row: None if row["kind"] == "part" else row
    )
    for pair, side in (((old, recategorized), "only_a"), ((recategorized, old), "only_b")):
        found = compare(*pair, examples=1)
        assert [example.dataset for example in getattr(found, side).kept] == ["toy"]
        assert found.configuration == []


def test_a_run_whose_masks_were_all_dropped_by_a_merge_does_not_differ(whole, tmp_path):
    (run,) = source_runs(whole)
    without = changed(
        whole, str(tmp_path / "without"), "rejects", lambda row: row if row["image_id"] == "im_6" else None
    )
    fewer = filter_database(
        without, str(tmp_path / "fewer"), images=[image for image in (*EVEN, *ODD) if image != "im_6"]
    )
    plan = derived_plan([fewer], [run | {"seed": 5}], "change", {})
    repeated = write_derived(str(tmp_path / "repeated"), plan, pieces(fewer))
    both = merge([whole, repeated], str(tmp_path / "both"))
    assert len(both.sources) == 2
    assert used_sources(both) == [0]
    assert database_id(both) == database_id(whole)
    assert not compare(whole, both).any


def test_a_run_that_is_not_used_is_left_out_by_a_filter(whole, other, tmp_path):
    (run,) = source_runs(other)
    old = with_unused(whole, str(tmp_path / "old"), [run, None])
    made = filter_database(old, str(tmp_path / "made"), images=[*EVEN, *ODD])
    assert made.plan["sources"] == source_runs(whole)
    assert database_id(made) == database_id(whole)
