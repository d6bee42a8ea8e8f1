"""What ``agg database diff`` finds between two databases."""

from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.database.difference_counts import Example, Examples, Spread, Tally
from agg_pipeline.database.differences import compare, configuration_differences
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.matching import ImagePlace, RowPair, image_pairs, row_pairs
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import mask_of, open_proposals
from agg_pipeline.database.recomputing import recompute
from agg_pipeline.database.selecting import filter_database, reshard
from agg_pipeline.storage.rle import encode
from schemas.crop import crop_mask
from schemas.errors import UserError
from tests.database.changed_rows import changed
from tests.toy_run import make_database


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The toy database; tests read it only."""
    return open_proposals(make_database(tmp_path_factory.mktemp("whole")).url)


def rows_of(database, *kinds):
    return [row for row in database.proposals().to_pylist() if not kinds or row["kind"] in kinds]


def only_differs(found, *names):
    """Whether nothing but the named counts differs."""
    tallies = {"images": found.images, "rejects": found.rejects, **found.rows}
    differing = {name for name, tally in tallies.items() if tally.differs}
    differing |= {name for name in ("configuration", "columns") if getattr(found, name)}
    differing |= {name for name in ("ious", "granularities") if getattr(found, name).number}
    return differing == set(names)


def test_database_in_other_shards_and_order_does_not_differ(whole, tmp_path):
    halves = [filter_database(whole, str(tmp_path / name), images=ids) for name, ids in HALVES.items()]
    for other in (whole, reshard(whole, str(tmp_path / "other"), 2), merge(halves[::-1], str(tmp_path / "merged"))):
        found = compare(whole, other, examples=3)
        assert not found.any
        assert only_differs(found)
        assert found.images == Tally(both=8)
        assert found.rows["objects"] == Tally(both=len(rows_of(whole, "object")))
        assert found.rows["proposals"] == Tally(both=len(rows_of(whole, "part", "complement")))
        assert found.rows["annotated parts"] == Tally()
        assert found.rejects == Tally(both=whole.rejects().num_rows)
        assert not (found.changed.kept or found.regraded.kept or found.only_a.kept or found.only_b.kept)


HALVES = {"even": ["im_0", "im_2", "im_4", "im_6"], "odd": ["im_1", "im_3", "im_5", "im_7"]}


def test_other_lambda_differs_in_configuration_and_granularities_alone(whole, tmp_path):
    other = recompute(whole, str(tmp_path / "other"), 0.1)
    found = compare(whole, other, examples=2)
    assert only_differs(found, "configuration", "granularities", "columns")
    assert found.configuration == ["config.granularity.weight: 0.5 -> 0.1"]
    pairs = list(zip(rows_of(whole), rows_of(other), strict=True))
    changes = [abs(a["granularity"] - b["granularity"]) for a, b in pairs if a["granularity"] != b["granularity"]]
    assert found.granularities.number == len(changes) > 10
    assert found.granularities.total == pytest.approx(sum(changes))
    assert found.granularities.counts == np.histogram(changes, [0, 0.01, 0.05, 0.1, 0.2, 1])[0].tolist()
    assert found.columns == {("proposals", "bin"): sum(a["bin"] != b["bin"] for a, b in pairs)}
    assert [example.size for example in found.regraded.kept] == sorted(changes, reverse=True)[:2]


def test_missing_images_and_masks_are_counted_where_they_are(whole, tmp_path):
    kept = filter_database(whole, str(tmp_path / "kept"), "kind = 'part'", HALVES["even"])
    found = compare(whole, kept, examples=2)
    assert only_differs(found, "images", "objects", "proposals", "rejects")
    there = {row["proposal_id"] for row in rows_of(kept)}
    lost = [row for row in rows_of(whole) if row["proposal_id"] not in there]
    images = {row["image_id"] for row in rows_of(kept)}
    assert found.images == Tally(both=len(images), only_a=8 - len(images))
    kinds = Counter(row["kind"] for row in lost)
    assert found.rows["objects"].only_a == kinds["object"] > 0
    assert found.rows["proposals"].only_a == kinds["part"] + kinds["complement"]
    assert found.rejects.only_a == sum(row["image_id"] not in images for row in whole.rejects().to_pylist())
    largest = sorted(lost, key=lambda row: (-row["area"], row["proposal_id"]))[:2]
    assert [example.a["proposal_id"] for example in found.only_a.kept] == [row["proposal_id"] for row in largest]
    assert all(example.b is None and example.iou == 0 for example in found.only_a.kept)
    back = compare(kept, whole, examples=2)
    assert (back.images.only_a, back.images.only_b) == (0, found.images.only_a)
    assert [replace(example, a=example.b, b=None) for example in back.only_b.kept] == found.only_a.kept


def test_mask_that_has_changed_is_counted_by_its_iou(whole, tmp_path):
    part = next(row for row in rows_of(whole, "part"))
    mask = mask_of(part)
    smaller = mask.copy()
    smaller[np.nonzero(mask)[0].max()] = False

    def cut(row):
        if row["proposal_id"] == part["proposal_id"]:
            crop = crop_mask(smaller, *smaller.shape)
            top, left, height, width = crop.box
            row |= {"rle": encode(crop), "area": int(smaller.sum())}
            row["bbox"] = {"x": left, "y": top, "w": width, "h": height}
        return row

    found = compare(whole, changed(whole, str(tmp_path / "cut"), "proposals", cut), examples=5)
    assert only_differs(found, "ious")
    iou = smaller.sum() / mask.sum()
    (example,) = found.changed.kept
    assert (example.a["proposal_id"], example.b["area"]) == (part["proposal_id"], smaller.sum())
    assert example.iou == iou == found.ious.total
    assert example.size == 1 - iou
    assert (example.path, example.dataset) == (f"img/{part['image_id']}.png", "toy")
    assert sum(found.ious.counts) == 1


@pytest.mark.parametrize(
    ("table", "column", "value", "rows"),
    [
        ("proposals", "category", "dog", lambda database: rows_of(database)),
        ("proposals", "peak_object", 0.25, lambda database: rows_of(database, "part", "complement")),
        ("images", "licence", "another", lambda database: database.images().to_pylist()),
        ("images", "sha256", "f" * 64, lambda database: database.images().to_pylist()),
    ],
)
def test_every_other_column_is_compared(whole, tmp_path, table, column, value, rows):
    first = rows(whole)[0]["image_id"]

    def change(row):
        return row | {column: value} if row["image_id"] == first and row[column] is not None else row

    found = compare(whole, changed(whole, str(tmp_path / "other"), table, change))
    assert only_differs(found, "columns")
    number = sum(row["image_id"] == first and row[column] not in (None, value) for row in rows(whole))
    assert found.columns == {(table, column): number}
    assert number > 0


def test_rejects_are_compared(whole, tmp_path):
    def change(row):
        return None if row["image_id"] == "im_0" else row | {"stage": "other"} if row["image_id"] == "im_4" else row

    found = compare(whole, changed(whole, str(tmp_path / "other"), "rejects", change))
    assert only_differs(found, "rejects")
    counts = Counter(row["image_id"] for row in whole.rejects().to_pylist())
    assert found.rejects.only_a == counts["im_0"] + counts["im_4"] > counts["im_4"]
    assert found.rejects.only_b == counts["im_4"]


def test_rows_of_a_model_that_only_one_has(whole, tmp_path):
    other = recompute(whole, str(tmp_path / "other"), 0.1)
    both = merge([whole, other], str(tmp_path / "both"), "keep")
    found = compare(whole, both)
    assert only_differs(found, "configuration", "proposals", "rejects")
    assert found.configuration == ["a run on toy with toy: only in the second"]
    assert found.rows["proposals"].only_b == len(rows_of(whole, "part", "complement"))


def test_databases_that_swap_their_runs_differ_in_the_source(whole, tmp_path):
    other = recompute(whole, str(tmp_path / "recomputed"), 0.1)
    parts = [
        [filter_database(each, str(tmp_path / f"{n}-{name}"), images=ids) for name, ids in HALVES.items()]
        for n, each in enumerate((whole, other))
    ]
    merged = [merge([parts[first][0], parts[1 - first][1]], str(tmp_path / f"merged-{first}")) for first in (0, 1)]
    found = compare(*merged)
    assert found.configuration == []
    assert found.columns["proposals", "source"] == len(rows_of(whole))


def test_damaged_mask_is_a_user_error(whole, tmp_path):
    first = rows_of(whole, "part")[0]["proposal_id"]

    def change(row):
        return row | {"rle": b"0"} if row["proposal_id"] == first else row

    other = changed(whole, str(tmp_path / "other"), "proposals", change)
    with pytest.raises(UserError, match="damaged mask"):
        compare(whole, other)


EDITS = st.sampled_from(["nothing", "order", "category", "rle", "granularity", "click", "lost", "path", "detail"])


@settings(max_examples=12, deadline=None)
@given(edit=EDITS, image=st.sampled_from(["im_0", "im_1", "im_2", "im_3", "im_5", "im_7"]))
def test_databases_differ_if_their_identities_do(whole, tmp_path_factory, edit, image):
    table = {"path": "images", "detail": "rejects"}.get(edit, "proposals")

    def change(row):
        if row["image_id"] != image or row.get("kind", "part") != "part" or edit in ("nothing", "order"):
            return row
        smaller = float(np.nextafter(np.float32(row.get("granularity", 1)), np.float32(0)))
        new = {"category": "dog", "granularity": smaller, "click": {"row": 0, "col": 0}, "path": "x", "detail": "y"}
        if edit == "rle":
            mask = mask_of(row)
            mask[np.nonzero(mask)[0].max()] = False
            new = {"rle": encode(crop_mask(mask, *mask.shape))}
        return None if edit == "lost" else row | {key: value for key, value in new.items() if key == edit}

    folder = tmp_path_factory.mktemp("edited")
    other = changed(whole, str(folder / "other"), table, change)
    if edit == "order":
        other = reshard(other, str(folder / "shards"), 5)
    assert compare(whole, other).any == (database_id(whole) != database_id(other))


def test_images_are_matched_by_content_before_ids():
    a = [ImagePlace(0, "x", "1"), ImagePlace(0, "y", "2"), ImagePlace(0, "z", ""), ImagePlace(1, "w", "3")]
    b = [ImagePlace(0, "y", "1"), ImagePlace(0, "q", "2"), ImagePlace(0, "w", "4"), ImagePlace(2, "z", "5")]
    assert list(image_pairs(a, b)) == [(a[0], b[0]), (a[1], b[1]), (a[2], b[3]), (a[3], b[2])]
    assert list(image_pairs(a[:1], b)) == [(a[0], b[0]), *((None, place) for place in b[1:])]
    twice = [ImagePlace(0, "x", "1"), ImagePlace(0, "y", "1")]
    assert list(image_pairs(twice, twice[::-1])) == [(place, place) for place in twice]
    assert list(image_pairs(twice, b[:1])) == [(twice[0], None), (twice[1], b[0])]


def row(proposal_id, mask, kind="part"):
    image, instance, _, _ = proposal_id.split(":")
    height, width = mask.shape
    return {
        "proposal_id": proposal_id,
        "image_id": image,
        "instance_id": int(instance),
        "kind": kind,
        "height": height,
        "width": width,
        "rle": encode(crop_mask(mask, height, width)),
    }


def strip(first, last, height=10, width=100):
    mask = np.zeros((height, width), bool)
    mask[:, first:last] = True
    return mask


OBJECT = row("a:1:object:0", strip(0, 60), "object")


def named_pairs(a, b):
    """The masks of an object that belong together, by the ends of their ids, with their IoU."""
    a, b = [OBJECT, *a], [OBJECT, *b]
    first, *pairs = row_pairs(a, b)
    assert first == RowPair(0, 0, 1.0)
    names = [
        (a[pair.a]["proposal_id"].removeprefix("a:1:"), b[pair.b]["proposal_id"].removeprefix("a:1:")) for pair in pairs
    ]
    return {name: pair.iou for name, pair in zip(names, pairs, strict=True)}


def test_masks_of_objects_that_are_alike_are_matched():
    a = [
        row("a:1:object:0", strip(0, 60), "object"),
        row("a:2:object:0", strip(60, 100), "object"),
        row("a:1:part:1", strip(0, 10)),
        row("a:2:part:1", strip(60, 70)),
    ]
    b = [
        row("b:7:object:0", strip(0, 60), "object"),
        row("b:2:object:0", strip(60, 99), "object"),
        row("b:7:part:1", strip(0, 9)),
        row("b:2:part:1", strip(60, 70)),
    ]
    # The second object has an IoU of 39/40, which is too little, so its masks belong to no object of the other.
    assert row_pairs(a, b) == [RowPair(0, 0, 1.0), RowPair(2, 2, 9 / 10)]
    assert row_pairs(a, [row("b:7:object:0", strip(0, 60, 11), "object")]) == []
    assert row_pairs(a[1:], b[1:1]) == row_pairs([], b) == []


def test_equal_masks_are_matched_before_equal_ids():
    a = [row("a:1:part:0", strip(0, 10)), row("a:1:part:1", strip(10, 30)), row("a:1:part:2", strip(30, 60))]
    b = [row("a:1:part:0", strip(10, 30)), row("a:1:part:1", strip(30, 60)), row("a:1:part:2", strip(0, 10))]
    pairs = named_pairs(a, b)
    assert pairs == {("part:0", "part:2"): 1.0, ("part:1", "part:0"): 1.0, ("part:2", "part:1"): 1.0}


def test_equal_masks_are_matched_by_id_then_by_kind():
    a = [
        row("a:1:part:0", strip(0, 10)),
        row("a:1:complement:0", strip(0, 10), "complement"),
        row("a:1:part:1", strip(0, 10)),
    ]
    b = [
        row("a:1:complement:4", strip(0, 10), "complement"),
        row("a:1:part:3", strip(0, 10)),
        row("a:1:part:1", strip(0, 10)),
    ]
    expected = {("part:1", "part:1"), ("part:0", "part:3"), ("complement:0", "complement:4")}
    assert named_pairs(a, b) == dict.fromkeys(expected, 1.0)
    assert named_pairs(a[:1], b[:1]) == {("part:0", "complement:4"): 1.0}


def test_equal_ids_are_matched_before_larger_ious_if_their_masks_are_alike():
    a = [row("a:1:part:0", strip(0, 10)), row("a:1:part:1", strip(20, 30)), row("a:1:part:2", strip(40, 50))]
    b = [row("a:1:part:0", strip(0, 6)), row("a:1:part:9", strip(0, 9)), row("a:1:part:2", strip(20, 29))]
    # The ids part:2 are equal, but their masks have nothing in common.
    assert named_pairs(a, b) == {("part:0", "part:0"): 6 / 10, ("part:1", "part:2"): 9 / 10}


@pytest.mark.parametrize(("last", "paired"), [(5, False), (6, True)])
def test_masks_with_an_iou_of_half_or_less_are_not_matched(last, paired):
    a = [row("a:1:part:0", strip(0, 10)), row("a:1:annotated:x", strip(30, 40), "annotated")]
    b = [row("a:1:part:0", strip(0, last)), row("a:1:annotated:x", strip(30, 30 + last), "annotated")]
    names = {("part:0", "part:0"), ("annotated:x", "annotated:x")}
    assert named_pairs(a, b) == (dict.fromkeys(names, last / 10) if paired else {})


def test_what_has_the_same_iou_is_matched_by_kind_then_in_order():
    a = [row("a:1:part:0", strip(0, 10)), row("a:1:complement:0", strip(0, 10), "complement")]
    b = [row("a:1:complement:7", strip(0, 9), "complement"), row("a:1:part:7", strip(1, 10))]
    assert named_pairs(a, b) == {("part:0", "part:7"): 9 / 10, ("complement:0", "complement:7"): 9 / 10}


def test_kinds_that_differ_are_a_difference_of_their_own(whole, tmp_path):
    part = next(row for row in rows_of(whole, "part"))["proposal_id"]

    def change(row):
        return row | {"kind": "complement"} if row["proposal_id"] == part else row

    found = compare(whole, changed(whole, str(tmp_path / "other"), "proposals", change))
    assert only_differs(found, "columns")
    assert found.columns == {("proposals", "kind"): 1}


def test_the_same_masks_under_other_ids_differ_in_their_ids_alone(whole, tmp_path):
    """The ids of the parts of an object are turned round."""
    ids = {}
    for row in rows_of(whole, "part"):
        ids.setdefault((row["image_id"], row["instance_id"]), []).append((row["proposal_id"], row["step"]))
    turned = {of[0]: to for own in ids.values() for of, to in zip(own, [*own[1:], own[0]], strict=True)}

    def change(row):
        name, step = turned.get(row["proposal_id"], (row["proposal_id"], row["step"]))
        return row | {"proposal_id": name, "step": step}

    found = compare(whole, changed(whole, str(tmp_path / "other"), "proposals", change))
    assert only_differs(found, "columns")
    moved = sum(len(own) for own in ids.values() if len(own) > 1)
    assert found.columns == {("proposals", "proposal_id"): moved, ("proposals", "step"): moved}
    assert moved > 0


def test_objects_that_are_alike_are_matched_by_their_numbers():
    a = [row(f"a:{n}:object:0", strip(0, 60), "object") for n in (1, 2)]
    b = [row(f"a:{n}:object:0", strip(0, 60), "object") for n in (2, 1)]
    assert row_pairs(a, b) == [RowPair(0, 1, 1.0), RowPair(1, 0, 1.0)]
    c = [row("a:1:object:0", strip(0, 99), "object"), row("a:2:object:0", strip(0, 100), "object")]
    d = [row("a:1:object:0", strip(0, 100), "object"), row("a:2:object:0", strip(0, 98), "object")]
    # The pair of the largest IoU comes first, and what is left has an IoU of 98/99.
    assert row_pairs(c, d) == [RowPair(1, 0, 1.0), RowPair(0, 1, 98 / 99)]


def test_runs_that_differ_in_their_images_alone_do_not_differ(whole):
    (run,) = whole.sources
    half = run | {"dataset": run["dataset"] | {"fingerprint": "0", "images": 4, "split": "train"}}
    assert configuration_differences([run], [half, run]) == []
    other = run | {"seed": 7, "model": run["model"] | {"architecture": "base"}}
    assert configuration_differences([run], [other]) == ['model.architecture: "toy" -> "base"', "seed: 0 -> 7"]
    assert configuration_differences([run, other], [run]) == ["a run on toy with base: only in the first"]


def test_values_are_counted_between_their_edges():
    spread = Spread((0.5, 0.75))
    for value in (0.0, 0.49, 0.5, 0.75, 1.0):
        spread.add(value)
    assert (spread.counts, spread.number, spread.total) == ([2, 1, 2], 5, 2.74)


def test_largest_examples_are_kept_whatever_their_order():
    examples = [
        Example(size, {"proposal_id": name}, None, 0.0, "", "", "")
        for size, name in ((5, "c"), (9, "b"), (5, "a"), (5, "b"), (1, "d"))
    ]
    for order in permutations(examples):
        kept, none = Examples(3), Examples(0)
        for example in order:
            kept.add(example)
            none.add(example)
        assert kept.kept == [examples[1], examples[2], examples[3]]
        assert none.kept == []
