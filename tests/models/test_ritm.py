"""RITM's networks with made-up weights, and files that hold them or something else."""

import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from agg_pipeline.models import ritm
from agg_pipeline.models.hrnet import ObjectHead
from agg_pipeline.models.ritm import UNUSED, VARIANTS, Ritm, load_ritm
from schemas.errors import UserError
from tests.models.ritm_weights import TINY, made_up, made_up_network

SMALL = "hrnet18s"


@pytest.fixture(scope="module")
def weights():
    """The state dict of the smallest published network."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Ritm(VARIANTS[SMALL]).state_dict().items()}
    return made_up(shapes)


def write(path, state, **settings):
    """Write a file as published, with settings in its config."""
    params = {name: {"type": "builtins.bool", "value": value, "specified": True} for name, value in settings.items()}
    torch.save(
        {"state_dict": state, "config": {"class": "isegm.model.is_hrnet_model.HRNetModel", "params": params}}, path
    )
    return path


def outputs(network, image, coords):
    with torch.inference_mode():
        return network(image, coords)


@pytest.mark.parametrize("size", [(37, 211), (64, 64), (1, 1), (2, 33), (5, 4)])
def test_images_of_any_size(size):
    torch.manual_seed(0)
    found = outputs(made_up_network(), torch.rand(2, 3, *size), torch.rand(2, 3, *size))
    assert found.main.shape == found.auxiliary.shape == (2, 1, *size)
    assert found.main.isfinite().all()


def test_image_and_all_coordinates_change_the_prediction():
    network = made_up_network()
    torch.manual_seed(0)
    image, coords = torch.rand(1, 3, 40, 50), torch.rand(1, 3, 40, 50)
    first = outputs(network, image, coords).main
    assert torch.equal(first, outputs(network, image.clone(), coords.clone()).main)
    for channel in range(3):
        changed = [coords.clone(), image.clone()]
        for each in changed:
            each[:, channel, 10:20, 10:20] += 1
        assert not torch.allclose(first, outputs(network, image, changed[0]).main, atol=1e-5)
        assert not torch.allclose(first, outputs(network, changed[1], coords).main, atol=1e-5)


def test_the_sign_of_the_learnt_factor_is_not_looked_at():
    network = made_up_network()
    torch.manual_seed(0)
    image, coords = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    first = outputs(network, image, coords).main
    with torch.no_grad():
        network.maps_transform[3].scale.neg_()
    assert torch.equal(first, outputs(network, image, coords).main)


def test_attention_to_a_single_region_is_what_is_left_out():
    torch.manual_seed(0)
    head = ObjectHead(3).eval()
    pixels, region = torch.randn(2, 6, 4, 5), torch.randn(2, 6, 1, 1)
    block = head.object_context_block
    with torch.inference_mode():
        query = block.f_pixel(pixels).flatten(2).transpose(1, 2)
        key, value = block.f_object(region).flatten(2), block.f_down(region).flatten(2).transpose(1, 2)
        attention = (query @ key * 3**-0.5).softmax(-1)
        context = block.f_up((attention @ value).transpose(1, 2).reshape(2, 3, 4, 5))
        expected = head.conv_bn_dropout(torch.cat([context, pixels], 1))
        assert torch.allclose(head(pixels, region), expected, atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_networks_are_told_apart_by_their_shapes(name):
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in Ritm(VARIANTS[name]).state_dict().items()}
    assert ritm._nearest_variant(shapes) == name


def test_a_published_file(weights, tmp_path):
    path = write(tmp_path / "m.pth", weights, use_disks=True, norm_radius=5, with_prev_mask=True, unknown=3)
    loaded = load_ritm(path)
    assert loaded.variant == SMALL and len(loaded.sha256) == 64
    assert not loaded.network.training
    state = loaded.network.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[key], weights[key]) for key in weights)


def test_other_files_with_the_same_keys(weights, tmp_path):
    without = {key: value for key, value in weights.items() if not key.endswith(UNUSED)}
    half = {f"module.{key}": value.half() for key, value in without.items()}
    write(tmp_path / "half.pth", half)
    safetensors.torch.save_file(without, tmp_path / "m.safetensors")
    key = "feature_extractor.conv1.weight"
    assert torch.equal(load_ritm(tmp_path / "m.safetensors").network.state_dict()[key], weights[key])
    assert torch.equal(load_ritm(tmp_path / "half.pth").network.state_dict()[key], weights[key].half().float())


BIAS = "feature_extractor.cls_head.bias"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({BIAS: None}, f"not a RITM hrnet18s: {BIAS} of shape \\(1,\\) is missing"),
        ({BIAS: torch.zeros(2)}, f"{BIAS} has shape \\(2,\\) instead of \\(1,\\)"),
        ({"extra.weight": torch.zeros(2)}, "unexpected extra.weight"),
        ({"maps_transform.0.weight": torch.zeros(16, 2, 1, 1)}, "maps_transform.0.weight has shape \\(16, 2, 1, 1\\)"),
        ({BIAS: torch.tensor([float("nan")])}, f"{BIAS} holds numbers that are not finite"),
        ({BIAS: torch.tensor([1])}, f"{BIAS} is of torch.int64"),
        ({BIAS: "text"}, "it has no state_dict of tensors"),
    ],
)
def test_files_with_other_tensors(weights, tmp_path, changes, problem):
    state = {key: value for key, value in (weights | changes).items() if value is not None}
    path = write(tmp_path / "m.pth", state)
    with pytest.raises(UserError, match=f"m.pth.*{problem}"):
        load_ritm(path)


@pytest.mark.parametrize(
    "settings", [{"norm_radius": 260}, {"use_disks": False}, {"use_leaky_relu": False}, {"binary_prev_mask": True}]
)
def test_files_with_settings_of_another_network(weights, tmp_path, settings):
    (name,) = settings
    with pytest.raises(UserError, match=f"m.pth: made with {name} = "):
        load_ritm(write(tmp_path / "m.pth", weights, **settings))


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_files_of_something_else(weights, tmp_path, capsys):
    contents = {
        "text.pth": b"hello",
        "empty.pth": b"",
        "cut.pth": write(tmp_path / "whole.pth", weights).read_bytes()[:-1000],
        "pickle.pth": pickle.dumps({"state_dict": {}}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    write(tmp_path / "evil.pth", {"a": Evil()})
    torch.save(weights, tmp_path / "bare.pth")
    torch.save({"state_dict": nn.Linear(2, 2).state_dict()}, tmp_path / "other.pth")
    for name in (*contents, "evil.pth", "bare.pth", "other.pth", "missing.pth"):
        with pytest.raises(UserError, match=name):
            load_ritm(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_the_tiny_network_is_none_of_the_published_ones(tmp_path):
    with pytest.raises(UserError, match="not a RITM"):
        load_ritm(write(tmp_path / "m.pth", made_up_network(TINY).state_dict()))
