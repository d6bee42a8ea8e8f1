"""Which GPU of several computes a run is not part of its plan."""

from dataclasses import asdict

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.evaluation.evaluation_tables import EVALUATION_LAYOUT
from agg_pipeline.execution.plan import make_plan
from schemas.config import EvaluationConfig, ProposalsConfig
from schemas.resolve import override
from tests.toy_run import ENVIRONMENT, MODEL


@pytest.mark.parametrize(
    ("layout", "config"), [(DATABASE_LAYOUT, ProposalsConfig()), (EVALUATION_LAYOUT, EvaluationConfig())]
)
def test_gpus_of_one_machine_make_the_same_plan(layout, config):
    dataset = open_dataset("demo", "", "val")

    def plan(device):
        return make_plan(layout, dataset, MODEL, ENVIRONMENT, override(config, {"predictor": {"device": device}}))

    assert plan("cuda:0") == plan("cuda:1") == plan("cuda")
    assert plan("cuda")["config_hash"] != plan("cpu")["config_hash"]
    for device in ("cpu", "cuda"):
        written = asdict(override(config, {"predictor": {"device": device}}))
        assert plan(device)["config"]["predictor"] == written["predictor"], "those hashes stay what they were"
