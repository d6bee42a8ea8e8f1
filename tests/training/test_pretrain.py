"""``agg pretrain`` through the command line, and new models."""

import json
import shutil

import numpy as np
import pytest
import torch

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model, new_click_model, save_click_model
from agg_pipeline.models.positions import wave_positions
from agg_pipeline.models.simpleclick import attach_adapter
from agg_pipeline.training.pretrain import PretrainInputs, prepare
from agg_pipeline.training.training_folder import TrainingOptions
from schemas.resolve import override
from schemas.training import PretrainConfig
from tests.e2e.commands import error_of, invoke

TINY = """epoch = 6
warm_up = 0.5
focal_epoch = 1.0
rounds_epoch = 1.0
[training]
epochs = 2
batch = 2
lr = 1e-3
max_rounds = 1
loaders = 0
[augment]
size = 32
view = "zoom"
min_area = 1
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def command(data, recipe, tmp_path):
    def run(*options, out="out"):
        return invoke("pretrain", "--data", f"folder:{data}", "--out", tmp_path / out, "--recipe", recipe, *options)

    return run


def test_positions_tell_rows_from_columns():
    waves = wave_positions(16, 4).view(4, 4, 16)
    assert torch.equal(waves[:, 0, :8], waves[:, 3, :8]), "the first half is the row's"
    assert torch.equal(waves[0, :, 8:], waves[3, :, 8:]), "the second the column's"
    assert len({tuple(place.tolist()) for place in waves.flatten(0, 1)}) == 16
    assert waves[2, 0, 0] == pytest.approx(np.sin(2.0))
    assert waves[2, 0, 4] == pytest.approx(np.cos(2.0))


def test_same_seed_same_model():
    first, again, other = (new_click_model(ARCHITECTURES["xtiny"], 32, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.blocks.0.attn.qkv.weight"], other["backbone.blocks.0.attn.qkv.weight"])


def test_training_from_nothing_leaves_a_model(command, tmp_path):
    done = command()
    assert done.code == 0, done
    assert "no validation steps" in done.stdout
    network, info = load_click_model(tmp_path / "out" / "model.safetensors")
    assert (info.architecture, info.input_size, info.granularity) == ("xtiny", 32, False)
    start = new_click_model(ARCHITECTURES["xtiny"], 32, 0).state_dict()
    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, start[name].half())]
    assert len(changed) == len(start)
    assert "starting from random weights" in (tmp_path / "out" / "training.html").read_text()


def test_interrupted_and_resumed_equals_uninterrupted(command, tmp_path):
    assert command("--max-minutes", "0", out="cut").code == 0
    assert command("--resume", out="cut").code == 0
    assert command(out="whole").code == 0
    cut, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("cut", "whole"))
    assert cut == whole


def test_it_learns(data, tmp_path):
    path = tmp_path / "longer.toml"
    path.write_text(TINY.replace("_epoch = 1.0", "_epoch = 100").replace("epochs = 2", "epochs = 30"))
    done = invoke("pretrain", "--data", f"folder:{data}", "--out", tmp_path / "out", "--recipe", path)
    assert done.code == 0, done
    losses = np.genfromtxt(tmp_path / "out" / "steps.csv", delimiter=",", names=True)["loss"]
    assert losses[-20:].mean() < 0.75 * losses[:20].mean()


def test_going_on_from_a_model(command, tmp_path):
    model = new_click_model(ARCHITECTURES["xtiny"], 64, 5)
    save_click_model(tmp_path / "base.safetensors", model)
    done = command("--checkpoint", tmp_path / "base.safetensors", "--max-minutes", "0")
    assert done.code == 0, done
    attach_adapter(model, Adapter(160, 8, 0))
    save_click_model(tmp_path / "controlled.safetensors", model)
    error = error_of(command("--checkpoint", tmp_path / "controlled.safetensors", out="other"))
    assert "holds a granularity table" in error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--architecture", "vast"), "unknown architecture 'vast'"),
        (("--size", "40"), "xtiny cannot take 40x40"),
        (("--weight", "1", "--weight", "2"), "2 weights for 1 data set"),
        (("--split", "a", "--split", "b"), "2 splits for 1 data set"),
        (("--data", "demo:3", "--split", "", "--split", "4"), "demo:3 names a split already"),
        (("--split", "nowhere.txt"), "nowhere.txt"),
        (("--weight", "inf"), "inf is not a finite number"),
        (("--weight", "0"), "all weights are 0; give at least one --weight above 0"),
        (("--data", "nothing:here"), "unknown data set 'nothing'"),
        (("--data", "demo:0"), "unknown split '0' of demo"),
        (("--data", "folder:"), "data set folder needs its root folder; give it as --data folder:FOLDER"),
        (("--data", "sbd"), "needs its root folder"),
        (("--resume",), "no checkpoint to resume"),
        (("--checkpoint", "/nowhere.pth"), "does not exist"),
        (("--recipe", "paper"), "unknown recipe 'paper'; possible: small-sets, or"),
    ],
)
def test_bad_input_is_one_line(command, options, said):
    assert said in error_of(command(*options))


def test_a_checkpoint_has_its_own_architecture(command, tmp_path):
    start = ("--checkpoint", default_checkpoint())
    assert "--architecture is for a model that is trained from scratch" in error_of(
        command(*start, "--architecture", "base")
    )
    config = override(PretrainConfig(), {"architecture": "base", "augment": {"size": 32}, "training": {"loaders": 0}})
    inputs = PretrainInputs((("demo", "2", ""),), checkpoint=str(default_checkpoint()))
    prepare(config, inputs, TrainingOptions(tmp_path / "out"))
    written = json.loads((tmp_path / "out" / "training.json").read_text())
    assert written["config"]["architecture"] == "xtiny"


def test_a_list_file_is_a_split_of_its_own(data, recipe, tmp_path):
    listed = tmp_path / "some.txt"
    listed.write_text("im_1\nim_3\n")
    source = ("--data", f"folder:{data}")
    how = ("--recipe", recipe, "--max-minutes", "0")
    done = invoke("pretrain", *source, *source, "--split", "", "--split", listed, "--out", tmp_path / "out", *how)
    assert done.code == 0, done
    assert "7 images" in (tmp_path / "out" / "training.html").read_text()
    assert "no validation steps: all images of the evaluation splits are trained on" in done.stdout


def test_validation_is_on_images_that_are_not_trained_on(data, tmp_path):
    listed = tmp_path / "some.txt"
    listed.write_text("im_1\nim_3\n")
    options = TrainingOptions(tmp_path / "out", validation_masks=20)
    config = override(PretrainConfig(), {"augment": {"size": 32}, "training": {"loaders": 0}})
    made = prepare(config, PretrainInputs((("folder", str(data), str(listed)),)), options)
    assert {mask.target.image.image_id for mask in made.validation} == {"im_0", "im_2", "im_4"}


def test_image_that_cannot_be_used_is_named(data, recipe, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data, root)
    (root / "images" / "im_2.png").write_bytes(b"no image")
    error = error_of(
        invoke("pretrain", "--data", f"folder:{root}", "--out", tmp_path / "out", "--recipe", recipe, "--epochs", "20")
    )
    assert "folder image im_2 cannot be used" in error
