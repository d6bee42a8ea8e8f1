"""What all workers of a run must have in common."""

import pytest
import torch

from agg_pipeline.execution import worker_facts
from agg_pipeline.execution.worker_facts import difference, machine_facts, program_facts


def test_a_difference_is_named():
    here = {"torch": "2.13.0+cpu", "numpy": "2.5"}
    assert difference(here, dict(here)) == ""
    assert difference(here, here | {"numpy": "2.6"}) == "numpy is 2.6 there, and 2.5 here"
    assert difference(here, {"torch": "2.13.0+cpu"}) == "numpy is nothing there, and 2.5 here"
    assert difference({}, here) == ""


def test_what_is_compared():
    assert program_facts()["torch"] == torch.__version__
    names = {"this package", "torch", "numpy", "scipy", "opencv", "pillow", "pyarrow", "pycocotools", "rlemasklib"}
    assert set(program_facts()) == names
    assert machine_facts("cpu").keys() == {"instruction set"}


def test_the_device_is_compared_where_it_computes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    assert machine_facts("cuda:1")["device"] == "card of cuda:1"
    assert "device" not in machine_facts("cpu")


@pytest.mark.parametrize("change", ["content", "name", "further file"])
def test_the_hash_of_the_package_covers_every_source_file(tmp_path, monkeypatch, change):
    module = tmp_path / "module.py"
    module.write_text("x = 1\n")
    (tmp_path / "__init__.py").write_text("")
    assert all((folder / "__init__.py").is_file() for folder in worker_facts.PACKAGES)
    monkeypatch.setattr(worker_facts, "PACKAGES", (tmp_path,))
    before = worker_facts._package_hash()
    if change == "content":
        module.write_text("x = 2\n")
    elif change == "name":
        module.rename(tmp_path / "other.py")
    else:
        (tmp_path / "other.py").write_text("")
    assert worker_facts._package_hash() != before
