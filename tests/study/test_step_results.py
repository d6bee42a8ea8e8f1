"""Whether all that a step of a study leaves is there; its folders are written by hand."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from agg_pipeline.evaluation.results_folder import with_checksums
from agg_pipeline.storage.store import Store
from agg_pipeline.study.step_results import is_whole, may_resume
from agg_pipeline.study.study_steps import StudyStep
from schemas.config import EvaluationConfig
from schemas.resolve import override
from schemas.training import FinetuneConfig
from tests.evaluation.conftest import write_results
from tests.execution.test_shard_files import flip, truncate
from tests.study.test_study import write_proposals

MODES = {"base": "none", "optimal": "optimal"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What a database step, a training and an evaluation leave."""
    out = tmp_path_factory.mktemp("study")
    write_proposals(out / "proposals")
    trained = out / "trained"
    trained.mkdir()
    (trained / "training.json").write_text(json.dumps({"config": asdict(FinetuneConfig())}))
    (trained / "adapter.safetensors").write_text("weights")
    for name, mode in MODES.items():
        write_results(str(out / "evaluated" / name), name, override(EvaluationConfig(), {"mode": mode}))
        _with_checksums(Store(str(out / "evaluated" / name)))
    return out


def _with_checksums(store):
    contents = {f"{name}.parquet": store.read(f"{name}.parquet") for name in ("targets", "objects")}
    files = {
        path: {"rows": 1, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in contents.items()
    }
    store.write_json("summary.json", with_checksums(store.read_json("summary.json"), files))


@pytest.fixture
def out(made, tmp_path):
    return shutil.copytree(made, tmp_path / "study")


def step(out, path):
    """The step that leaves a file."""
    name = path.split("/")[0]
    folder = str(out / name)
    if name == "trained":
        return StudyStep(name, (), folder, "adapter.safetensors")
    return StudyStep(name, (), folder, modes=MODES if name == "evaluated" else {})


@pytest.mark.parametrize("name", ["proposals", "trained", "evaluated"])
def test_what_a_step_has_left_is_whole(out, name):
    assert is_whole(step(out, name))


def cut(path):
    path.write_bytes(truncate(path.read_bytes()))


def flipped(path):
    path.write_bytes(flip(path.read_bytes()))


def emptied(path):
    path.write_bytes(b"")


def other_mode(path):
    shutil.rmtree(path)
    shutil.copytree(path.with_name("base"), path)


@pytest.mark.parametrize(
    ("path", "harm"),
    [
        ("proposals", shutil.rmtree),
        ("proposals/database/proposals", shutil.rmtree),
        ("proposals/database/images/part-00000.parquet", cut),
        ("proposals/database/shards/part-00000.json", Path.unlink),
        ("proposals/database/shards/part-00000.json", cut),
        ("proposals/database/manifest.json", Path.unlink),
        ("proposals/database/plan.json", cut),
        ("trained/training.json", Path.unlink),
        ("trained/training.json", cut),
        ("trained/adapter.safetensors", Path.unlink),
        ("trained/adapter.safetensors", emptied),
        ("evaluated/optimal/summary.json", Path.unlink),
        ("evaluated/optimal/summary.json", cut),
        ("evaluated/optimal/targets.parquet", Path.unlink),
        ("evaluated/optimal/objects.parquet", cut),
        ("evaluated/base/objects.parquet", flipped),
        ("evaluated/optimal", other_mode),
    ],
)
def test_what_is_missing_or_damaged_is_found(out, path, harm):
    harm(out / path)
    assert not is_whole(step(out, path))


def test_a_training_is_resumed_if_its_plan_is_known(out):
    trained = out / "trained"
    assert not may_resume(str(trained))
    (trained / "checkpoint.pt").touch()
    assert may_resume(str(trained))
    cut(trained / "training.json")
    assert not may_resume(str(trained)), "nobody knows what the checkpoint is of"
