"""Kinds and steps of masks from the pickle of the authors' generator, which does not say them."""

from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.exchange.released_import import import_released
from agg_pipeline.database.exchange.released_pickle import export_released
from agg_pipeline.database.exchange.released_reading import read_released
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.selecting import filter_database
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.storage.store import Store
from schemas.presets import PRESETS
from schemas.resolve import override, validated
from tests.database.exchange.test_released_pickle import written
from tests.toy_run import ENVIRONMENT, HEIGHT, MODEL, WIDTH, make_dataset, run_shards, write_database

OBJECT = 40, 88, 70, 118
"""First and last rows and columns of object 9 of the toy images, 48 x 48 pixels."""


def box(top, bottom, left=OBJECT[2], right=OBJECT[3]):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def imported(tmp_path, toy_dataset, *masks):
    """Kind and step of masks of object 9, as the import finds them."""
    content = {"im_0": {"mask": np.array(masks, np.uint8), "gra": np.full((len(masks), 2), 0.5)}}
    made = import_released(written(tmp_path / "x.pkl", content), toy_dataset, str(tmp_path / "made"))
    assert made.rejects().num_rows == 0
    rows = [row for row in made.proposals().to_pylist() if row["kind"] != "object"]
    assert {row["instance_id"] for row in rows} == {9}
    assert all(row["proposal_id"] == f"im_0:9:{row['kind']}:{row['step']}" for row in rows)
    return [(row["kind"], row["step"]) for row in rows]


PART, REST = box(40, 64), box(64, 88)
PARTS = [("part", 0), ("part", 1)]
BOTH = [("part", 0), ("complement", 0)]


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ((PART, REST), BOTH),
        ((PART, box(64, 70)), PARTS),
        ((PART, box(63, 88)), PARTS),
        ((PART, REST & ~box(64, 65, 70, 90)), BOTH),
        ((PART, REST & ~box(64, 65)), PARTS),
        ((PART, REST, box(64, 75)), [*BOTH, ("part", 1)]),
        ((PART, box(64, 70), REST), [*PARTS, ("part", 2)]),
        ((box(40, 50), PART, REST), [*PARTS, ("complement", 1)]),
        ((REST,), [("part", 0)]),
    ],
    ids=[
        *("the rest", "a part beside it", "a part that overlaps it", "nearly the rest", "less than the rest"),
        *("a part after a complement", "the rest of a part before that", "the rest of the second", "the first mask"),
    ],
)
def test_a_complement_is_what_the_mask_before_it_leaves_of_the_object(tmp_path, toy_dataset, masks, expected):
    assert imported(tmp_path, toy_dataset, *masks) == expected


def test_complements_of_the_paper_are_opened_and_the_largest_component(tmp_path, toy_dataset):
    # The part leaves a sliver at the top and a square on the left, too.
    part = box(41, 64) & ~box(50, 60, 70, 80)
    assert imported(tmp_path, toy_dataset, part, REST) == BOTH


def test_complements_of_the_authors_program_keep_their_slivers(tmp_path, toy_dataset):
    part = box(40, 87) & ~box(60, 87, 116, 118)
    rest = box(*OBJECT) & ~part
    assert imported(tmp_path, toy_dataset, part, rest) == BOTH


def toy_database(folder, seed, preset="paper"):
    """A toy run whose masks are cleaned as in a preset."""
    store, dataset = Store(str(folder)), make_dataset()
    changes = {"batch": {"images_per_shard": 3}, "seed": seed, "masks": asdict(PRESETS[preset].masks)}
    config = validated(override(PRESETS["paper"], changes))
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    write_database(store, plan, run_shards(dataset, config))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    return open_proposals(store.url)


def kinds_of(database):
    rows = database.proposals(["image_id", "instance_id", "kind", "rle"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("seed", range(3))
def test_kinds_survive_a_round_trip(tmp_path, toy_dataset, preset, seed):
    made = toy_database(tmp_path / "made", seed, preset)
    export_released(made, tmp_path / "x.pkl")
    again = import_released(tmp_path / "x.pkl", toy_dataset, str(tmp_path / "again"))
    assert kinds_of(again) == kinds_of(made)
    assert {"part", "complement"} <= {kind for _, _, kind, _ in kinds_of(made)}


def test_a_complement_without_its_part_becomes_a_part(tmp_path, toy_dataset):
    made = toy_database(tmp_path / "made", 0)
    alone = filter_database(made, str(tmp_path / "alone"), "kind = 'complement'")
    export_released(alone, tmp_path / "x.pkl")
    again = import_released(tmp_path / "x.pkl", toy_dataset, str(tmp_path / "again"))
    assert {kind for _, _, kind, _ in kinds_of(again)} == {"object", "part"}


def test_complements_of_several_sources_follow_their_parts(tmp_path):
    databases = [toy_database(tmp_path / f"{seed}", seed) for seed in range(2)]
    merged = merge(databases, str(tmp_path / "merged"), "keep")
    export_released(merged, tmp_path / "x.pkl")
    found = {}
    read_released(tmp_path / "x.pkl", lambda name, image: found.update({name: image.masks}))
    rows = [row for row in merged.proposals().to_pylist() if row["kind"] != "object"]
    assert sum(map(len, found.values())) == len(rows)
    parts = {
        (row["image_id"], row["instance_id"], row["source"], row["step"]): row for row in rows if row["kind"] == "part"
    }
    complements = [row for row in rows if row["kind"] == "complement"]
    assert len({row["source"] for row in complements}) == 2
    for row in complements:
        part = parts[row["image_id"], row["instance_id"], row["source"], row["step"]]
        masks = found[row["image_id"]]
        assert (part["rle"], row["rle"]) in pairwise(masks)
