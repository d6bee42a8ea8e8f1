"""Models by their names: those of other packages, their arguments, and what a plan says of them."""

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from agg_pipeline.models.other_models import (
    PATH,
    InstalledModel,
    ModelFacts,
    NamedModel,
    _arguments,
    installed_models,
    make_model,
    named_model,
)
from schemas.errors import UserError
from schemas.records import Click, Interaction

GUIDE = Path(__file__).parents[2] / "docs/guide/models.md"
PACKAGE, ENTRY_POINTS, *_ = re.findall("```(?:python|toml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
"""A package that adds a model, and its entry point, as the guide shows them."""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with an entry point, installed."""
    (tmp_path / "disk_model.py").write_text(PACKAGE)
    ((group, points),) = tomllib.loads(ENTRY_POINTS)["project"]["entry-points"].items()
    facts = tmp_path / "disk_model-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: disk-model\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        f"[{group}]\ndisk = {points['disk']}\nbroken = disk_model:nothing\ngeodesic = disk_model:make\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("disk_model", None)


@pytest.mark.usefixtures("package")
def test_a_model_of_another_package_is_found_by_its_entry_point():
    assert InstalledModel("disk", "disk-model", "disk_model:make") in installed_models()
    described = named_model("disk:radius=3")
    assert described.facts == ModelFacts("disk", settings={"radius": 3.0})
    (found,) = make_model(described, "cpu").predict(
        [Interaction(np.zeros((20, 30, 3), np.uint8), (Click(9, 9, True),), prompt=None, focus=None)]
    )
    assert found.sum() == 29  # pixels of a disk of radius 3


@pytest.mark.usefixtures("package")
def test_names_of_this_project_are_its_own():
    assert named_model("geodesic").facts.architecture == "geodesic"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("disks", "there is no model disks; did you mean 'disk'"),
        ("", "there is no model"),
        ("broken", "model broken cannot be loaded from disk_model: .*nothing"),
    ],
)
def test_models_that_are_not_there(text, problem):
    with pytest.raises(UserError, match=problem):
        named_model(text)


@pytest.mark.usefixtures("package")
def test_a_worker_with_another_model_is_refused():
    described = named_model("disk")
    other = NamedModel("disk:radius=4", described.facts)
    with pytest.raises(UserError, match="disk:radius=4 is another model here than where the run was started"):
        make_model(other, "cpu")


def test_arguments_have_names_but_the_first():
    assert _arguments("sam", "/models/sam,best=3,x=a=b") == {PATH: "/models/sam", "best": "3", "x": "a=b"}
    assert _arguments("sam", "") == {}
    assert _arguments("sam", "best=3") == {"best": "3"}


@pytest.mark.parametrize("text", ["a=1,b", "a=1,a=2", "=1", "a,b", "a,"])
def test_arguments_that_cannot_be_read(text):
    with pytest.raises(UserError, match="cannot be read; write NAME:PATH,KEY=VALUE"):
        _arguments("sam", text)


def test_a_plan_knows_methods_without_weights_by_their_settings():
    one, other = (NamedModel(f"disk:radius={r}", ModelFacts("disk", settings={"radius": r})).planned for r in (3, 4))
    assert one["sha256"] != other["sha256"]
    assert (one["architecture"], one["input_size"], one["name"]) == ("disk", 0, "disk")
    assert one["settings"] == {"radius": 3} and one["granularity"] is False
    weights = NamedModel("net:x", ModelFacts("net", sha256="ab" * 32, parameters=5)).planned
    assert weights["sha256"] == "ab" * 32 and weights["parameters"] == 5 and "settings" not in weights
