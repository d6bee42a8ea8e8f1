"""Pre-training: mixtures, schedule, and ``agg pretrain`` through the command line."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model, new_click_model, save_click_model
from agg_pipeline.models.positions import wave_positions
from agg_pipeline.models.simpleclick import attach_adapter
from agg_pipeline.training.mixture import ObjectSamples, draw_object, scene, weighted
from agg_pipeline.training.pretrain import Objects, Pretraining, prepare
from agg_pipeline.training.source import Drawn
from agg_pipeline.training.training_options import TrainingOptions
from schemas.crop import crop_mask
from schemas.errors import UserError
from schemas.resolve import override
from schemas.training import PretrainConfig
from stages.draws import generator
from stages.finetune import normalised_focal_loss
from stages.pretrain import cross_entropy_and_dice
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


def test_rate_grows_and_falls():
    config = override(PretrainConfig(), {"warm_up": 2.0, "training": {"epochs": 10}})
    shares = [Pretraining(config).share(epoch) for epoch in (0.0, 1.0, 2.0, 6.0, 10.0)]
    assert shares == pytest.approx([0.01, 0.505, 1.0, 0.505, 0.01])


def test_loss_and_clicks_change_at_their_epochs():
    settings = {"focal_epoch": 3.0, "rounds_epoch": 2.0, "training": {"max_rounds": 2}}
    method = Pretraining(override(PretrainConfig(), settings))
    assert method.loss(1.99) == (cross_entropy_and_dice, 0)
    assert method.loss(2.0) == (cross_entropy_and_dice, 2)
    assert method.loss(3.0) == (normalised_focal_loss, 2)


def test_only_matrices_decay():
    model = new_click_model(ARCHITECTURES["xtiny"], 32, 0)
    learning = dict(model.named_parameters())
    optimizer = Pretraining(PretrainConfig()).optimizer(learning)
    names = {id(value): name for name, value in learning.items()}
    decay, rest = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert decay | rest == set(learning)
    assert {"backbone.pos_embed", "backbone.blocks.0.norm1.weight", "head.fusion_conv.conv.bias"} <= rest
    assert not any(name.endswith(("bias", "pos_embed")) for name in decay)


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


def test_mixtures_follow_their_weights(data):
    mixture = weighted([open_dataset("folder", str(data), None), open_dataset("demo", "", "2")], (3.0, 1.0))
    rng = generator(0)
    drawn = [mixture.draw(rng).image_id for _ in range(400)]
    assert 0.18 < sum(name.startswith("demo") for name in drawn) / len(drawn) < 0.32
    assert {name for name in drawn if not name.startswith("demo")} == {f"im_{n}" for n in range(5)}


def test_images_without_objects_do_not_shift_the_weights(data):
    full, demo = open_dataset("folder", str(data), None), open_dataset("demo", "", "2")

    def read(entry):
        record = full.read(entry)
        return record if entry.image_id == "im_3" else replace(record, objects=())

    mixture = weighted([replace(full, read=read), demo], (1.0, 1.0))
    rng = generator(0)
    drawn = [mixture.draw(rng).image_id for _ in range(400)]
    assert 0.4 < sum(name.startswith("demo") for name in drawn) / len(drawn) < 0.6
    assert "im_3" in drawn
    bare = replace(full, read=lambda entry: replace(full.read(entry), objects=()))
    with pytest.raises(UserError, match="of 100 images of folder none holds an object"):
        weighted([bare], ()).draw(rng)


def test_objects_are_whole_and_without_the_others(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    seen = set()
    for number in range(20):
        drawn = draw_object(record, generator(number))
        match = [n for n, each in enumerate(record.objects) if np.array_equal(each.mask.full(), drawn.mask)]
        assert len(match) == 1
        other = record.objects[1 - match[0]].mask.full()
        assert np.array_equal(drawn.others, other & ~drawn.mask)
        seen.add(match[0])
    assert seen == {0, 1}


def thing(shade: int, box: tuple[int, int, int, int], shape: tuple[int, int] = (40, 60)) -> Drawn:
    top, bottom, left, right = box
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return Drawn(np.full((*shape, 3), shade, np.uint8), mask, np.zeros_like(mask), mask, 10)


def test_scenes_show_what_is_to_be_found_and_the_rest_is_others(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    own = [each.mask.full() for each in record.objects]
    pasted = [thing(shade, (10, 30, 10, 30)) for shade in (251, 253)]
    found = set()
    for number in range(60):
        drawn = scene(record, pasted, generator(number))
        assert drawn.pixels.shape == record.pixels.shape
        assert drawn.mask.any()
        assert not (drawn.mask & drawn.others).any()
        shades = [(drawn.pixels == shade).all(axis=2) for shade in (251, 253)]
        # All that is there is the mask or others; the inside of what was pasted shows its own shade.
        for shade in shades:
            assert (drawn.mask | drawn.others)[shade].all()
        which = [n for n, shade in enumerate(shades) if shade.any() and drawn.mask[shade].all()]
        found.add(f"pasted {which[0]}" if which and not drawn.others[shades[which[0]]].any() else "own")
        if not which:
            assert any(not (drawn.mask & ~mask).any() for mask in own)
    assert found == {"pasted 0", "pasted 1", "own"}


def test_what_is_mostly_hidden_is_not_to_be_found(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    whole = [each.mask.full() for each in record.objects]
    cover = [thing(251, (0, 40, 0, 60))] * 3
    own = []
    for number in range(60):
        drawn = scene(record, cover, generator(number))
        if not (drawn.pixels[drawn.mask] == 251).all(axis=1).any():
            own.append(drawn.mask)
    assert own
    for seen in own:
        assert any(not (seen & ~mask).any() and seen.sum() >= 0.25 * mask.sum() for mask in whole)


def test_ignored_pixels_reach_training_but_where_something_was_pasted(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    assert draw_object(record, generator(0)).ignored is None
    assert scene(record, [], generator(0)).ignored is None
    ignored = np.zeros(record.pixels.shape[:2], bool)
    ignored[:, ::2] = True
    marked = replace(record, ignore=crop_mask(ignored, *ignored.shape))
    assert np.array_equal(draw_object(marked, generator(0)).ignored, ignored)
    drawn = scene(marked, [thing(251, (0, 40, 0, 60))], generator(0))
    covered = (drawn.pixels == 251).all(axis=2)
    assert covered.any()
    assert not (drawn.ignored & covered).any()
    assert (drawn.ignored <= ignored).all()


def test_a_sample_depends_on_seed_epoch_and_number_alone(data):
    config = override(PretrainConfig(), {"paste": 0.5, "augment": {"size": 32, "view": "zoom", "min_area": 1}})
    samples = ObjectSamples(weighted([open_dataset("folder", str(data), None)], ()), config)
    for number in range(6):
        first, again = samples[0, number], samples[0, number]
        assert np.array_equal(first.pixels, again.pixels)
        assert first.clicks == again.clicks
        assert first.row == -1
    assert not np.array_equal(samples[0, 0].pixels, samples[1, 0].pixels)


def test_training_from_nothing_leaves_a_model(command, tmp_path):
    done = command()
    assert done.code == 0, done
    assert "no looks at validation masks" in done.stdout
    network, info = load_click_model(tmp_path / "out" / "model.safetensors")
    assert (info.architecture, info.input_size, info.granularity) == ("xtiny", 32, False)
    start = new_click_model(ARCHITECTURES["xtiny"], 32, 0).state_dict()
    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, start[name].half())]
    assert len(changed) == len(start)
    assert "from nothing" in (tmp_path / "out" / "training.html").read_text()


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
        (("--weight", "1", "--weight", "2"), "2 weights for 1 data sets"),
        (("--split", "a", "--split", "b"), "2 splits for 1 data sets"),
        (("--data", "demo:3", "--split", "", "--split", "4"), "demo:3 names a split already"),
        (("--split", "nowhere.txt"), "nowhere.txt"),
        (("--weight", "inf"), "inf is no number"),
        (("--weight", "0"), "all weights are 0"),
        (("--data", "nothing:here"), "unknown data set 'nothing'"),
        (("--data", "demo:0"), "unknown split '0' of demo"),
        (("--data", "folder:"), "nothing after the colon"),
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
    assert "--architecture is of a model that starts from nothing" in error_of(
        command(*start, "--architecture", "base")
    )
    config = override(PretrainConfig(), {"architecture": "base", "augment": {"size": 32}, "training": {"loaders": 0}})
    objects = Objects((("demo", "2", ""),), checkpoint=str(default_checkpoint()))
    prepare(config, objects, TrainingOptions(tmp_path / "out"))
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
    assert "no looks at validation masks: all images of the evaluation splits are learnt from" in done.stdout


def test_looks_are_at_images_that_are_not_learnt_from(data, tmp_path):
    listed = tmp_path / "some.txt"
    listed.write_text("im_1\nim_3\n")
    options = TrainingOptions(tmp_path / "out", validation_masks=20)
    config = override(PretrainConfig(), {"augment": {"size": 32}, "training": {"loaders": 0}})
    made = prepare(config, Objects((("folder", str(data), str(listed)),)), options)
    assert {target.image.image_id for target in made.validation} == {"im_0", "im_2", "im_4"}


def test_image_that_cannot_be_used_is_named(data, recipe, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data, root)
    (root / "images" / "im_2.png").write_bytes(b"no image")
    error = error_of(
        invoke("pretrain", "--data", f"folder:{root}", "--out", tmp_path / "out", "--recipe", recipe, "--epochs", "20")
    )
    assert "folder image im_2 cannot be used" in error


def test_sets_without_objects_are_refused():
    dataset = open_dataset("demo", "", "2")
    parts = replace(dataset, about=replace(dataset.about, levels=("part",)))
    with pytest.raises(UserError, match="has no objects"):
        weighted([parts], ())
