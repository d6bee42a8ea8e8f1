"""Simulated interaction against clicks and IoUs that the authors' program made."""

import json

import pytest

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.checkpoints import load_adapter, load_click_model
from agg_pipeline.models.simpleclick import attach_adapter
from schemas.config import ClicksConfig, PredictorConfig
from stages.evaluate import Start, Subject, best, evaluate

pytestmark = pytest.mark.golden
IMAGES = {"base": 2, "adapter_optimal": 1}
"""Of the recorded ones, without --all-recorded: each takes seconds."""


@pytest.fixture(scope="module")
def recorded(shared, request):
    found = json.loads((shared / "golden" / "evaluator.json").read_text())
    if not request.config.getoption("--all-recorded"):
        found |= {name: found[name][:count] for name, count in IMAGES.items()}
    return found


@pytest.fixture(scope="module")
def subjects(shared):
    """Image file -> its subject."""
    dataset = open_dataset("grabcut", str(shared / "data" / "grabcut-mini"), "all")
    found = {}
    for entry in dataset.entries:
        record = dataset.read(entry)
        found[entry.path.rpartition("/")[2]] = Subject(record.pixels, record.objects[0].mask, 0.9, record.ignore)
    return found


def test_clicks_and_ious_of_the_base_model(shared, recorded, subjects):
    network, _ = load_click_model(shared / "checkpoints" / "xtiny448.pth")
    rows = recorded["base"]
    assert recorded["max_iou"] == 0.9
    config = ClicksConfig(threshold=recorded["threshold"])
    model = Predictor(network, PredictorConfig(flip=True))
    for row in rows:
        ((trace,),) = evaluate([subjects[row["image"]]], [[Start()]], model, config)
        assert [list(step.click) for step in trace.steps] == row["clicks"]
        assert [step.iou for step in trace.steps] == pytest.approx(row["ious"], abs=1e-4)


def test_best_granularity_of_the_adapted_model(shared, recorded, subjects, request):
    network, _ = load_click_model(shared / "checkpoints" / "xtiny448.pth")
    adapter, _ = load_adapter(shared / "checkpoints" / "xtiny448_adapter_qv.pth")
    attach_adapter(network, adapter)
    limit = recorded["max_clicks"]["adapter_optimal"]
    config = ClicksConfig(max_clicks=limit, threshold=recorded["threshold"])
    model = Predictor(network, PredictorConfig(flip=True))
    for row in recorded["adapter_optimal"]:
        # All ten take half a minute for an image; else the best one and one that is not.
        others = range(1, 11) if request.config.getoption("--all-recorded") else (1, 10 * row["granularity"])
        starts = [Start(number / 10) for number in others]
        (traces,) = evaluate([subjects[row["image"]]], [starts], model, config)
        chosen = traces[best(traces, 0.9, limit)]
        assert chosen.start.granularity == row["granularity"]
        assert [step.iou for step in chosen.steps] == pytest.approx(row["ious"], abs=1e-3)
