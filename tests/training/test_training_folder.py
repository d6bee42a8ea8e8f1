"""The output folder of a training: what is refused, and what is deleted."""

import json

import pytest

from agg_pipeline.training.training_folder import TrainingOptions, check_folder, claim_folder
from schemas.errors import UserError
from schemas.resolve import override

HELD = ("checkpoint.pt", "training.json", "adapter.safetensors", "steps.csv", "validation.csv", "training.html")


@pytest.fixture
def folder(tmp_path, config):
    """A folder with the files of a training, and a file of somebody else."""
    claim_folder(TrainingOptions(tmp_path), config, {"base": "old"})
    for name in HELD:
        if name != "training.json":
            (tmp_path / name).write_text(name)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "step-0000040.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def names(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_training_is_refused_unless_it_is_named(folder, config):
    before = names(folder)
    for claim in (check_folder, lambda options, config: claim_folder(options, config, {})):
        with pytest.raises(UserError, match="holds a training; use --resume to resume it, or --overwrite to delete it"):
            claim(TrainingOptions(folder), config)
        with pytest.raises(UserError, match="give one of them"):
            claim(TrainingOptions(folder, resume=True, overwrite=True), config)
        with pytest.raises(UserError, match=r"another configuration \(training\.epochs: 2 -> 3\); use the same"):
            claim(TrainingOptions(folder, resume=True), override(config, {"training": {"epochs": 3}}))
    assert names(folder) == before


def test_checking_changes_nothing(folder, config):
    before = names(folder)
    check_folder(TrainingOptions(folder, overwrite=True), config)
    check_folder(TrainingOptions(folder, resume=True), config)
    assert names(folder) == before


def test_overwriting_deletes_the_files_of_a_training_alone(folder, config):
    claim_folder(TrainingOptions(folder, overwrite=True), config, {"base": "new"})
    assert names(folder) == {"training.json", "notes.txt"}
    assert json.loads((folder / "training.json").read_text())["identity"] == {"base": "new"}


def test_resuming_keeps_everything(folder, config):
    before = names(folder)
    claim_folder(TrainingOptions(folder, resume=True), config, {"base": "new"})
    assert names(folder) == before
    assert json.loads((folder / "training.json").read_text())["identity"] == {"base": "old"}


@pytest.mark.usefixtures("folder")
def test_a_folder_in_use_is_refused_before_the_images_are_read(prepared):
    said = []
    with pytest.raises(UserError, match="holds a training"):
        prepared(".", say=said.append)
    assert said == []
    prepared(".", say=said.append, overwrite=True)
    assert said == ["comparing 5 images with those that the masks were made for"]
