"""The metrics of an evaluation against cases worked out by hand."""

import json

import pyarrow as pa
import pytest

from agg_pipeline.evaluation.mask_results import masks_of
from agg_pipeline.evaluation.per_class import class_granularities
from agg_pipeline.evaluation.summary import figures, hash_of, metric_settings, summarise
from agg_pipeline.evaluation.terminal_summary import interval, remarks
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.tables import REASONS, REJECTS, TARGETS
from tests.evaluation.conftest import make_plan, make_run, make_tables


def of(found, *keys):
    for key in keys:
        found = found[key]
    return found


def test_noc_iou_and_what_is_not_reached(three_masks):
    summary = summarise(three_masks, make_plan())
    found = of(summary, "levels", "object", "all")
    assert (summary["masks"], summary["images"], found["masks"], found["images"]) == (3, 2, 3, 2)
    assert {iou: mean["mean"] for iou, mean in found["noc"].items()} == {
        "0.80": pytest.approx((1 + 2 + 20) / 3),
        "0.85": pytest.approx((1 + 3 + 20) / 3),
        "0.90": pytest.approx((2 + 20 + 20) / 3),
    }
    assert found["at_limit"] == {"0.80": 1, "0.85": 1, "0.90": 2}
    assert found["iou"]["1"]["mean"] == pytest.approx((0.86 + 0.5) / 3)
    # The last IoU of the first interaction, which ended after two clicks, is carried forward.
    assert found["iou"]["20"]["mean"] == pytest.approx((0.95 + 0.85) / 3)
    assert summary["iou_carried_forward"]
    assert found["empty"] == 1
    # Two images: a resample holds one of them twice, or both.
    assert (found["noc"]["0.90"]["low"], found["noc"]["0.90"]["high"]) == (11, 20)


def test_groups_by_class_and_by_size(three_masks):
    found = summarise(three_masks, make_plan())["levels"]["object"]
    assert {kind: each["masks"] for kind, each in found["by_class"].items()} == {"cat": 2, "dog": 1}
    assert {size: each["masks"] for size, each in found["by_size"].items()} == {"small": 1, "medium": 1, "large": 1}
    assert found["by_class"]["dog"]["noc"]["0.85"] == {"mean": 3, "low": 3, "high": 3, "count": 1}
    assert found["by_class"]["cat"]["noc"]["0.90"]["mean"] == 11


def test_success_at_the_last_click_counts_as_not_reached():
    tables = make_tables([("a", "object", "cat", 1, [make_run([0.1] * 19 + [0.95])])])
    found = summarise(tables, make_plan())["levels"]["object"]["all"]
    assert found["at_limit"]["0.90"] == 1
    assert found["noc"]["0.90"]["mean"] == 20


def test_noc_beyond_where_interactions_end_is_not_given():
    tables = make_tables([("a", "part", "cat ear", 1, [make_run([0.5, 0.86])])])
    assert list(summarise(tables, make_plan())["levels"]["part"]["all"]["noc"]) == ["0.80", "0.85"]
    whole = summarise(tables, make_plan(clicks={"early_stop": False, "max_clicks": 2}))
    assert list(whole["levels"]["part"]["all"]["noc"]) == ["0.80", "0.85", "0.90"]
    for target, names in ((0.3, ["0.30"]), (0.875, ["0.80", "0.85", "0.875"])):
        targets = [row | {"target": target} for row in tables["targets"].to_pylist()]
        other = tables | {"targets": pa.Table.from_pylist(targets, TARGETS)}
        assert list(summarise(other, make_plan())["levels"]["part"]["all"]["noc"]) == names
    assert list(whole["levels"]["part"]["all"]["iou"]) == ["1", "2"]
    assert not whole["iou_carried_forward"]


def test_levels_are_apart(three_masks):
    parts = make_tables([("a", "part", None, 1, [make_run([0.9])])])
    tables = {name: parts[name] if name in ("masks", "rejects") else three_masks[name] for name in parts}
    for name in ("objects", "targets"):
        tables[name] = pa.concat_tables([three_masks[name], parts[name]])
    # The ids of both start from 0.
    levels = summarise(tables, make_plan())["levels"]
    assert list(levels) == ["object", "part"]
    assert (levels["object"]["all"]["masks"], levels["part"]["all"]["masks"]) == (3, 1)
    assert levels["part"]["all"]["noc"]["0.85"]["mean"] == 1


def ten(best, growing=True):
    """Ten interactions of two clicks; one is chosen."""
    return [
        make_run(
            [n / 20, 0.5 + (n == best) * 0.45],
            granularity=n / 10,
            chosen=n == best,
            areas=[100 * n if growing else 70, 100],
        )
        for n in range(1, 11)
    ]


def test_granularity_control_and_curves():
    tables = make_tables([("a", "object", "cat", 1, ten(10)), ("b", "object", "dog", 1, ten(3, growing=False))])
    plan = make_plan(mode="curves", clicks={"early_stop": False, "max_clicks": 2})
    summary = summarise(tables, plan)
    found = summary["levels"]["object"]["all"]["granularity"]
    assert summary["granularity_chosen_by"] == "ground truth"
    assert found["chosen"] == [0, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    assert found["control"]["spearman"]["mean"] == pytest.approx(0.5)
    assert found["control"]["grows"]["mean"] == pytest.approx(0.5)
    assert found["control"]["shrinks"]["mean"] == 0
    assert found["control"]["ratio"]["mean"] == pytest.approx((0.2 + 1) / 2)
    assert found["median_ratio"] == pytest.approx(0.6)
    assert found["iou"]["1"] == pytest.approx([n / 20 for n in range(1, 11)])
    assert found["iou"]["2"] == pytest.approx([0.5, 0.5, 0.725, *[0.5] * 6, 0.725])
    assert found["noc"]["0.90"] == pytest.approx([2.0] * 10)
    json.dumps(summary, allow_nan=False)


def test_area_ratio_of_masks_that_are_empty_at_full_granularity():
    runs = [make_run([0.0], granularity=n / 10, chosen=n == 1, areas=[0]) for n in range(1, 11)]
    tables = make_tables([("a", "object", "cat", 1, runs)])
    summary = summarise(tables, make_plan(mode="optimal", clicks={"max_clicks": 1}))
    found = summary["levels"]["object"]["all"]["granularity"]
    assert found["median_ratio"] is None
    assert found["control"]["ratio"] == {"mean": None, "low": None, "high": None, "count": 0}
    # Without --curves only the first click is there for every granularity.
    assert list(found["iou"]) == ["1"]
    assert found["noc"] == {}
    json.dumps(summary, allow_nan=False)


def test_figures_of_a_chosen_run_are_reported():
    runs = [make_run([0.1, 0.2], chosen=False), make_run([0.3, 0.95])]
    (mask,) = masks_of(*(make_tables([("a", "object", None, 1, runs)])[name] for name in ("targets", "objects")))
    assert mask.chosen.ious == (0.3, 0.95)
    assert figures([mask], metric_settings(make_plan(mode="best_of")))["iou"]["1"]["mean"] == 0.3


def test_remarks_name_what_a_reader_must_know(three_masks):
    rejects = [
        {"image_id": "x", "stage": "load", "reason": reason}
        for reason in ("all_ignored", "unreadable_image", "unreadable_image")
    ]
    tables = three_masks | {"rejects": pa.Table.from_pylist(rejects, REJECTS)}
    assert remarks(summarise(tables, make_plan())) == [
        "1 object mask: nothing was predicted even after 20 clicks",
        f"1 mask left out: {REASONS['all_ignored']}; see rejects.parquet",
        f"2 images left out: {REASONS['unreadable_image']}; see rejects.parquet",
    ]


@pytest.mark.parametrize(("images", "shown"), [(1, "4.00 (1 image)"), (4, "4.00 (4 images)"), (5, "4.00 [3.50, 4.25]")])
def test_a_mean_of_few_images_has_no_interval(images, shown):
    assert interval({"mean": 4.0, "low": 3.5, "high": 4.25}, images) == shown


def test_hash_of_masks_does_not_depend_on_their_order():
    assert hash_of(["a", "b"]) == hash_of(["b", "a"]) != hash_of(["a", "c"])


def test_granularity_of_a_class_is_the_best_one_in_the_given_results(tmp_path):
    tables = make_tables([("a", "part", "cat ear", 1, ten(3)), ("b", "part", "cat tail", 1, ten(8))])
    plan = make_plan(mode="curves", clicks={"early_stop": False, "max_clicks": 2})
    store = Store(str(tmp_path))
    store.write_json("summary.json", summarise(tables, plan))
    # All clicks are the limit, so that the IoU after the first one decides: it grows with the granularity.
    assert dict(class_granularities(str(tmp_path))) == {"part": 1.0, "part:cat ear": 1.0, "part:cat tail": 1.0}
    plan = make_plan(mode="curves", clicks={"early_stop": False, "max_clicks": 3})
    store.write_json("summary.json", summarise(tables, plan))
    # For the whole level, two granularities reach the target at the second click.
    assert dict(class_granularities(str(tmp_path))) == {"part": 0.8, "part:cat ear": 0.3, "part:cat tail": 0.8}


def test_results_without_curves_give_no_granularities_per_class(tmp_path, three_masks):
    store = Store(str(tmp_path))
    with pytest.raises(UserError, match="not a folder of results"):
        class_granularities(str(tmp_path))
    store.write_json("summary.json", summarise(three_masks, make_plan()))
    with pytest.raises(UserError, match="--curves"):
        class_granularities(str(tmp_path))
    store.write_json("summary.json", {"format_version": 1, "plan": {}})
    with pytest.raises(
        UserError, match="is not the summary of an evaluation: object missing required field dataset, at plan"
    ):
        class_granularities(str(tmp_path))
