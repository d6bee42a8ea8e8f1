"""Recall of annotated parts by proposals and by random cells."""

import numpy as np
import pytest

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.parts import AnnotatedPart
from agg_pipeline.proposals.recall import part_recall
from schemas.crop import crop_mask
from schemas.errors import UserError


def annotated(name, mask):
    return AnnotatedPart(name, crop_mask(mask, *mask.shape))


def test_recall_is_1_where_the_proposals_are_the_parts(built):
    database = open_proposals(built.url)

    def parts_of(image_id):
        rows = database.of_image(image_id)
        wanted = rows.filter([kind in ("part", "complement") for kind in rows["kind"].to_pylist()])
        kinds = ("left", "right")
        return [annotated(kinds[n % 2], mask) for n, mask in enumerate(database.masks(wanted))]

    found = part_recall(database, parts_of, None, 0)
    rows = database.proposals(["kind"])["kind"].to_pylist()
    parts = sum(kind in ("part", "complement") for kind in rows)
    everything, large = found.by_size
    assert (everything.proposals.best, everything.proposals.at) == (1.0, (1.0, 1.0))
    assert everything.proposals.parts == everything.random.parts == parts
    assert (large.which, large.proposals.best) == ("parts with at least 10% of their object", 1.0)
    assert 0 < large.proposals.parts < parts
    assert found.masks == parts
    assert 0.0 < everything.random.best < 0.95
    assert everything.random.at[0] >= everything.random.at[1]
    assert [each.which for each in found.by_class] == ["left", "right"]
    assert sum(each.proposals.parts for each in found.by_class) == parts
    assert part_recall(database, parts_of, None, 0) == found


def test_recall_by_hand(built):
    database = open_proposals(built.url)
    rows = database.of_image("im_0")
    masks = dict(zip(rows["proposal_id"].to_pylist(), database.masks(rows), strict=True))
    thing = masks["im_0:2:object:0"]
    corner = np.zeros_like(thing)
    corner[5:9, 4:8] = True
    others = [
        mask
        for name, mask in masks.items()
        if name.startswith("im_0:2:") and name.split(":")[2] in ("part", "complement")
    ]
    assert others
    ious = [max((mask & part).sum() / (mask | part).sum() for mask in others) for part in (thing, corner)]
    found = part_recall(
        database, lambda image: [annotated("a", thing), annotated("b", corner)] * (image == "im_0"), None, 0
    )
    proposals = found.by_size[0].proposals
    assert (found.objects, found.masks, proposals.parts) == (1, len(others), 2)
    assert proposals.best == pytest.approx(np.mean(ious))
    assert proposals.at == tuple(np.mean(np.array(ious) >= level) for level in (0.5, 0.75))
    assert [(each.which, each.proposals.parts) for each in found.by_class] == [("a", 1), ("b", 1)]
    assert [each.proposals.best for each in found.by_class] == pytest.approx(ious)


def test_part_belongs_to_the_object_that_covers_most_of_it(built):
    database = open_proposals(built.url)
    rows = database.of_image("im_0")
    masks = dict(zip(rows["proposal_id"].to_pylist(), database.masks(rows), strict=True))
    second = [name for name in masks if name.startswith("im_0:9:") and ":object:" not in name]
    part = masks["im_0:9:object:0"].copy()
    part[60, 40] = True
    found = part_recall(database, lambda image: [annotated("a", part)] * (image == "im_0"), None, 0)
    assert (found.objects, found.masks) == (1, len(second))


def test_limit_is_a_stable_choice_of_objects(built):
    database = open_proposals(built.url)

    def parts_of(image_id):
        rows = database.of_image(image_id)
        return [annotated("any", mask) for mask in database.masks(rows)]

    everything = part_recall(database, parts_of, None, 0)
    limited = part_recall(database, parts_of, 3, 0)
    assert (everything.objects, limited.objects) == (12, 3)
    assert limited == part_recall(database, parts_of, 3, 0)
    assert part_recall(database, parts_of, 1000, 0) == everything
    assert len({part_recall(database, parts_of, 3, seed).by_size for seed in range(4)}) > 1


def test_no_annotated_part_is_a_user_error(built):
    with pytest.raises(UserError, match=r"no object of .* has a part in --parts"):
        part_recall(open_proposals(built.url), lambda _: [], None, 0)
