"""The click model against recorded outputs, a plain reference and the protocol's list of tensors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from agg_pipeline.models.architecture import ARCHITECTURES, Architecture
from agg_pipeline.models.checkpoints import load_click_model
from agg_pipeline.models.positions import resize_positions
from agg_pipeline.models.simpleclick import SimpleClick, draw_disks
from benchmarks.reference import reference_disk_maps, reference_forward


def random_model(input_size: int, arch: Architecture = ARCHITECTURES["xtiny"]) -> SimpleClick:
    """A model whose every tensor is random, norms and biases too."""
    torch.manual_seed(0)
    model = SimpleClick(arch, input_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


def disk_maps(clicks: list[tuple[float, float, bool]], height: int, width: int) -> Tensor:
    maps = torch.zeros(2, height, width)
    draw_disks(maps.numpy(), clicks)
    return maps


def random_input(batch: int, size: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    maps = disk_maps([(size / 2, size / 3, True), (3.5, size - 2.0, False)], size, size)
    return torch.rand(batch, 3, size, size), torch.cat((torch.rand(1, size, size), maps)).repeat(batch, 1, 1, 1)


def golden_input(data: Mapping[str, NDArray[np.generic]], suffix: str, mask_prompt: bool) -> tuple[Tensor, Tensor]:
    """Image and coords of a recorded forward: two positive, then two negative clicks."""
    image = torch.from_numpy(data[f"input{suffix}"]).float().div(255)
    size = image.shape[1]
    points = data[f"points{suffix}"].tolist()
    maps = disk_maps([(row, col, index < 2) for index, (row, col, _) in enumerate(points)], size, size)
    previous = torch.zeros(1, size, size)
    if mask_prompt:
        previous[:, size // 4 : size // 2, size // 4 : size // 2] = 0.7
    return image[None], torch.cat((previous, maps))[None]


@pytest.mark.golden
@pytest.mark.parametrize("size", [224, 448, 672])
def test_recorded_logits(shared: Path, size: int) -> None:
    data = np.load(shared / "golden" / "model.npz")
    model, _ = load_click_model(shared / "checkpoints" / "xtiny448.pth", size)
    with torch.inference_mode():
        logits = model(*golden_input(data, f"_{size}", mask_prompt=True))
    np.testing.assert_allclose(logits[0, 0, ::2, ::2], data[f"logits_{size}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("size", "batch"), [(96, 3), (224, 3), (448, 1)])
def test_equals_plain_reference(size: int, batch: int) -> None:
    model = random_model(size)
    image, coords = random_input(batch, size)
    with torch.inference_mode():
        expected = reference_forward(model.arch, model.state_dict(), image, coords)
        torch.testing.assert_close(model(image, coords), expected, rtol=1e-5, atol=1e-5)


def test_equals_plain_reference_for_patch_14() -> None:
    arch = Architecture("small14", 32, 4, 2, 14, (16, 16, 32, 64), 16)
    model = random_model(448, arch)
    image, coords = random_input(1, 448)
    with torch.inference_mode():
        expected = reference_forward(arch, model.state_dict(), image, coords)
        torch.testing.assert_close(model(image, coords), expected, rtol=1e-5, atol=1e-5)


def test_gradients_equal_plain_reference() -> None:
    model = random_model(96)
    image, coords = random_input(2, 96)
    state = {key: value.detach().clone().requires_grad_() for key, value in model.state_dict().items()}
    weight = torch.randn(2, 1, 96, 96)
    (reference_forward(model.arch, state, image, coords) * weight).sum().backward()
    (model(image, coords) * weight).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        scale = state[key].grad.abs().max()
        torch.testing.assert_close(parameter.grad / scale, state[key].grad / scale, rtol=0, atol=1e-4, msg=key)


def test_dropout_only_in_training() -> None:
    model = random_model(96)
    inputs = random_input(2, 96)
    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    assert not torch.equal(model(*inputs), model(*inputs))


def test_same_with_and_without_gradients() -> None:
    model = random_model(224)
    inputs = random_input(5, 224)
    with torch.no_grad():
        chunked = model(*inputs)
    torch.testing.assert_close(chunked, model(*inputs).detach(), rtol=1e-5, atol=1e-5)


def listed_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of every used tensor, from the protocol."""
    dim, out, patch, c = arch.dim, arch.neck_out, arch.patch, arch.head_channels
    c4, c8, c32 = max(2 * out[0], dim // 2), max(out[1], dim // 2), max(out[3], 2 * dim)
    grid = 448 // patch
    weights: dict[str, tuple[int, ...]] = {
        "patch_embed_coords.proj": (dim, 3, patch, patch),
        "backbone.patch_embed.proj": (dim, 3, patch, patch),
        "neck.down_4.0": (dim, c4, 2, 2),
        "neck.down_4.1": (c4,),
        "neck.down_4.3": (c4, c4 // 2, 2, 2),
        "neck.down_4.4": (c4 // 2,),
        "neck.down_4.5": (out[0], c4 // 2, 1, 1),
        "neck.down_4.6": (out[0],),
        "neck.down_8.0": (dim, c8, 2, 2),
        "neck.down_8.1": (c8,),
        "neck.down_8.2": (out[1], c8, 1, 1),
        "neck.down_8.3": (out[1],),
        "neck.down_16.0": (out[2], dim, 1, 1),
        "neck.down_16.1": (out[2],),
        "neck.down_32.0": (c32, dim, 2, 2),
        "neck.down_32.1": (c32,),
        "neck.down_32.2": (out[3], c32, 1, 1),
        "neck.down_32.3": (out[3],),
        "head.fusion_conv.conv": (c, 4 * c, 1, 1),
        "head.conv_seg": (1, c, 1, 1),
    }
    for index in range(4):
        weights[f"head.convs.{index}.conv"] = (c, out[index], 1, 1)
    for index in range(arch.depth):
        block = f"backbone.blocks.{index}"
        weights |= {f"{block}.norm1": (dim,), f"{block}.norm2": (dim,)}
        weights |= {f"{block}.attn.qkv": (3 * dim, dim), f"{block}.attn.proj": (dim, dim)}
        weights |= {f"{block}.mlp.fc1": (4 * dim, dim), f"{block}.mlp.fc2": (dim, 4 * dim)}
    transposed = {"neck.down_4.0", "neck.down_4.3", "neck.down_8.0"}
    shapes: dict[str, tuple[int, ...]] = {"backbone.pos_embed": (1, 1 + grid * grid, dim)}
    for name, shape in weights.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[1] if name in transposed else shape[0],)
    return shapes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_and_shapes(name: str) -> None:
    arch = ARCHITECTURES[name]
    with torch.device("meta"):
        model = SimpleClick(arch)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == listed_shapes(arch)


def test_global_blocks() -> None:
    groups = {name: sorted(arch.global_blocks) for name, arch in ARCHITECTURES.items()}
    assert groups["xtiny"] == [1, 3, 5, 7]
    assert groups["base"] == [5, 11]
    assert groups["large"] == [5, 11, 17, 23]
    assert groups["huge"] == [7, 15, 23, 31]


@pytest.mark.parametrize("size", [0, 16, 100, 240, 736])
def test_input_sizes_that_cannot_be_tiled(size: int) -> None:
    with pytest.raises(ValueError, match="cannot take"):
        ARCHITECTURES["xtiny"].grid(size)


def test_input_of_another_size() -> None:
    with pytest.raises(ValueError, match="96x96"):
        random_model(96)(*random_input(1, 128))


def test_resized_positions_keep_class_token() -> None:
    positions = torch.randn(1, 1 + 28 * 28, 8)
    assert resize_positions(positions, 28) is positions
    resized = resize_positions(positions, 14)
    assert resized.shape == (1, 1 + 14 * 14, 8)
    assert torch.equal(resized[:, 0], positions[:, 0])


coordinate = st.floats(-30, 80, width=32) | st.integers(-3, 60).map(float)


@settings(deadline=None)
@given(clicks=st.lists(st.tuples(coordinate, coordinate, st.booleans()), max_size=6))
def test_disks_equal_distance_maps(clicks: list[tuple[float, float, bool]]) -> None:
    assert torch.equal(disk_maps(clicks, 50, 60), reference_disk_maps(clicks, 50, 60))


def test_click_with_both_coordinates_negative_draws_nothing() -> None:
    assert disk_maps([(-1.0, -1.0, True)], 20, 20).sum() == 0
    assert disk_maps([(-1.0, 0.0, True)], 20, 20).sum() > 0
    assert disk_maps([(10.0, 10.0, False)], 20, 20).sum((1, 2)).tolist() == [0, 81]
