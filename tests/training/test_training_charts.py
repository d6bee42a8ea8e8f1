"""What the logs of a training say."""

import re

import pytest

from agg_pipeline.training.training_charts import figures, training_charts, verdict
from agg_pipeline.training.training_log import IOU_COLUMNS


def validation(step, level, ious):
    return {"step": str(step), "level": level, "masks": "5", **dict(zip(IOU_COLUMNS, map(str, ious), strict=True))}


def flat(step, level, iou):
    return validation(step, level, [iou] * len(IOU_COLUMNS))


def step_rows(losses):
    return [{"step": str(step), "loss": str(loss)} for step, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("objects", "parts", "said"),
    [
        ((0.5, 0.6), (0.2, 0.4), "The model has become better. Change of the mean IoU after one click: objects +0.100"),
        ((0.5, 0.4), (0.2, 0.4), "better on one level, not on the other"),
        ((0.5, 0.4), (0.2, 0.1), "The model has not become better"),
        ((0.5, 0.5), (0.2, 0.1), "The model has not become better"),
        ((0.5, 0.501), (0.2, 0.199), "The model is as good as before. Change of the mean IoU after one click: "),
    ],
)
def test_the_verdict_compares_the_first_and_the_last_step(objects, parts, said):
    rows = [
        flat(10, "object", objects[0]),
        flat(10, "part", parts[0]),
        flat(20, "object", 0.9),
        flat(20, "part", 0.9),
        flat(30, "object", objects[1]),
        flat(30, "part", parts[1]),
    ]
    assert said in verdict(rows)


@pytest.mark.parametrize("rows", [[], [flat(10, "object", 0.5)]])
def test_one_step_says_nothing_of_a_change(rows):
    assert verdict(rows).startswith("Fewer than two validation steps")


def test_figures_of_loss_and_iou():
    rows = [flat(10, "part", 0.2), flat(20, "part", 0.5), flat(30, "part", 0.4)]
    found = dict(figures(step_rows([4.0, 2.0, 1.0, 1.0]), rows))
    assert found["Steps"] == "4"
    assert found["Loss, first and last 2 steps"] == "3.000 → 1.000"
    assert found["Mean IoU@1 of 5 parts"] == "0.200 → 0.400 (best 0.500 at step 20)"


def test_a_training_without_steps_has_figures_but_no_chart():
    assert figures([], []) == [("Steps", "0")]
    assert training_charts([], []) == []


def test_charts_tell_their_lines_apart():
    rows = [flat(step, "object", iou) for step, iou in ((10, 0.2), (20, 0.5), (30, 0.4))]
    loss, ious = training_charts(step_rows([3.0] * 30), rows)
    assert 'aria-label="Loss by step, from 3.000 to 3.000"' in loss
    assert re.findall(r"step \d+ \(\w+\)", ious) == ["step 10 (first)", "step 30 (last)", "step 20 (best)"]
    assert {"var(--soft)", "var(--accent)", "var(--part)"} <= set(re.findall(r"var\(--[\w-]+\)", ious))


def test_a_model_without_granularity_has_one_value():
    row = {"step": "10", "level": "object", "masks": "5"} | dict.fromkeys(IOU_COLUMNS, "") | {IOU_COLUMNS[0]: "0.25"}
    assert dict(figures([], [row]))["Mean IoU@1 of 5 objects"] == "0.250"
    (chart,) = training_charts([], [row])
    assert "step 10 (first)" in chart
