"""Chosen classes that match no mask are named at the end of an evaluation; the evaluation itself is replaced."""

from types import SimpleNamespace

import pytest

from agg_pipeline.storage.store import Store
from tests.e2e.commands import invoke

CLASSES = ("--class", "plant", "--class", "animal", "--skip-class", "vehicle")


@pytest.mark.parametrize("command", ["run", "adapted"])
def test_an_evaluation_names_classes_that_match_no_mask(monkeypatch, tmp_path, command):
    monkeypatch.setattr(
        "agg_pipeline.cli.eval.evaluating.evaluate", lambda *_: SimpleNamespace(store=Store(str(tmp_path)))
    )
    monkeypatch.setattr("agg_pipeline.evaluation.run.check_lost_images", lambda *_: None)
    monkeypatch.setattr("agg_pipeline.evaluation.run_arms.run_arms", lambda *_: [])
    # A plant.
    data = ("--dataset", "demo", "--split", "val", "--limit-images", 1)
    done = invoke("eval", command, *data, *CLASSES, "--out", tmp_path / "out")
    assert done.code == 0, done
    assert done.stderr.splitlines() == [
        "WARNING: --class animal matches no mask of the 1 image of this run",
        "WARNING: --skip-class vehicle matches no mask of the 1 image of this run",
    ]
