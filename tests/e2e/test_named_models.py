"""Other models than a checkpoint, through the command line."""

import json

import pytest

from agg_pipeline import open_proposals
from tests.e2e.commands import error_of, invoke

QUICK = ("--limit-images", "1", "--images-per-shard", "1", "--workers", "1")
MODEL = "geodesic:side=96"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """What AGG makes of one demo image with a method without weights."""
    out = tmp_path_factory.mktemp("geodesic") / "out"
    result = invoke("proposals", "run", "--model", MODEL, "--out", out, "--gallery-images", "1", *QUICK)
    assert result.code == 0, result
    return out


def test_agg_is_driven_by_another_model(database):
    assert invoke("proposals", "validate", database).code == 0
    rows = open_proposals(database).proposals(["kind", "granularity"]).to_pylist()
    assert sum(row["kind"] == "part" for row in rows) > 3
    model = json.loads((database / "database/plan.json").read_text())["model"]
    assert (model["name"], model["architecture"], model["input_size"]) == ("geodesic", "geodesic", 0)
    assert model["settings"]["side"] == 96
    assert "geodesic" in (database / "report/gallery.html").read_text()
    assert "SimpleClick" not in (database / "database/README.md").read_text()


def test_other_settings_are_another_run(database):
    other = ("proposals", "run", "--model", "geodesic:side=64", "--out", database, "--gallery-images", "0", *QUICK)
    assert "model.settings.side" in error_of(invoke(*other))


def test_a_model_is_evaluated_and_compared(tmp_path):
    masks = ("--level", "object", "--max-clicks", "3", "--pictures", "1")
    for name in ("geodesic:side=96", "grabcut:side=96"):
        out = tmp_path / name.partition(":")[0]
        result = invoke("eval", "run", "--model", name, "--out", out, *masks, *QUICK)
        assert result.code == 0, result
    summary = json.loads((tmp_path / "geodesic/summary.json").read_text())
    assert summary["levels"]["object"]["all"]["iou"]["1"]["mean"] > 0.1
    compared = invoke("eval", "compare", tmp_path / "geodesic", tmp_path / "grabcut")
    assert compared.code == 0 and "grabcut - geodesic" in compared.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("eval", "run", "--model", "geodesik"), "there is no model geodesik; did you mean 'geodesic'"),
        (("eval", "run", "--model", "geodesic", "--checkpoint", "x.pth"), "cannot be combined with --checkpoint"),
        (
            ("eval", "run", "--model", "geodesic", "--adapter", "built-in"),
            "geodesic has no granularity; leave --adapter",
        ),
        (("eval", "run", "--model", "geodesic", "--flip"), "cannot be combined with --flip"),
        (("eval", "run", "--model", "geodesic", "--input-size", "224"), "cannot be combined with --input-size"),
        (("eval", "run", "--model", "geodesic", "--granularity", "optimal"), "geodesic has no granularity; leave the"),
        (("proposals", "run", "--model", "grabcut"), "grabcut gives no probabilities, which the granularity is"),
        (("proposals", "run", "--model", "geodesic:side=-1"), "side=-1 is not a number from 0 to 8192"),
    ],
)
def test_what_a_model_cannot_do_is_said_before_the_run(tmp_path, arguments, problem):
    out = tmp_path / "out"
    assert problem in error_of(invoke(*arguments, "--out", out))
    assert not (out / "run").exists() and not (out / "database").exists()


def test_models_are_listed():
    listed = invoke("model", "list").stdout
    assert all(name in listed for name in ("geodesic", "grabcut", "random-walker", "agg-pipeline"))
