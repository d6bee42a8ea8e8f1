"""Granularity bins, LoRA and adapter files."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from agg_pipeline.models.adapter import Adapter, adapter_from_state, table_row
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import load_adapter, load_click_model, save_adapter
from agg_pipeline.models.file_metadata import FORMAT
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter, draw_disks, merge_lora
from agg_pipeline.models.tensor_files import METADATA
from schemas.errors import UserError


def random_adapter(projections: str = "qk", dim: int = 160, depth: int = 8) -> Adapter:
    generator = torch.Generator().manual_seed(3)
    adapter = Adapter(dim, depth, 8, projections)  # type: ignore[arg-type]
    adapter.initialise(generator)
    with torch.no_grad():
        for b in adapter.lora_B:
            b.normal_(generator=generator)
    return adapter


def small_model() -> tuple[SimpleClick, Tensor, Tensor]:
    torch.manual_seed(0)
    image, coords = torch.rand(2, 3, 3, 96, 96).unbind()
    return SimpleClick(ARCHITECTURES["xtiny"], 96).eval(), image, coords


@pytest.mark.parametrize(
    ("granularity", "ours", "released"),
    [(None, -1, -1), (0.0, 0, 0), (0.04, 0, 0), (0.1, 0, 0), (0.16, 1, 0), (0.25, 1, 1), (0.35, 3, 2), (0.99, 9, 8)],
)
def test_bins(granularity: float | None, ours: int, released: int) -> None:
    assert table_row(granularity) == ours
    assert table_row(granularity, released=True) == released


def test_bins_agree_at_tenths() -> None:
    tenths = [tenth / 10 for tenth in range(1, 11)]
    assert [table_row(g) for g in tenths] == list(range(10))
    assert [table_row(g, released=True) for g in tenths] == list(range(10))


@pytest.mark.golden
def test_recorded_logits(shared: Path) -> None:
    data = np.load(shared / "golden" / "graco_forward.npz")
    model, _ = load_click_model(shared / "checkpoints" / "xtiny448.pth")
    adapter, info = load_adapter(shared / "checkpoints" / "xtiny448_adapter_qv.pth")
    assert (info.projections, info.rank) == ("qv", 8)
    attach_adapter(model, adapter)
    clicks = [(row, col, index < 2) for index, (row, col, _) in enumerate(data["points"].tolist())]
    maps = torch.zeros(2, 448, 448)
    draw_disks(maps.numpy(), clicks)
    coords = torch.cat((torch.zeros(1, 448, 448), maps))[None]
    image = torch.from_numpy(data["input"]).float().div(255)[None]
    granularities = [None, *(tenth / 10 for tenth in range(1, 11))]
    with torch.inference_mode():
        for granularity in granularities:
            logits = model(image, coords, torch.tensor([table_row(granularity)]))
            name = "none" if granularity is None else f"{granularity:.1f}"
            np.testing.assert_allclose(logits[0, 0, ::4, ::4], data[f"logits_{name}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("projections", "second"), [("qk", 1), ("qv", 2)])
def test_update_is_scaled_product_on_two_thirds(projections: str, second: int) -> None:
    adapter = random_adapter(projections)
    a, b = adapter.lora_A[2], adapter.lora_B[2]
    thirds = adapter.update(2).chunk(3)
    torch.testing.assert_close(thirds[0], b[:160] @ a[:8] / 8)
    torch.testing.assert_close(thirds[second], b[160:] @ a[8:] / 8)
    assert not thirds[3 - second].any()


def test_new_adapter_changes_nothing_without_granularity() -> None:
    model, image, coords = small_model()
    with torch.no_grad():
        before = model(image, coords)
        adapter = Adapter(160, 8)
        adapter.initialise(torch.Generator().manual_seed(0))
        attach_adapter(model, adapter)
        assert torch.equal(model(image, coords), before)
        assert not torch.allclose(model(image, coords, torch.tensor([0, 4, 9])), before, atol=1e-3)
        attach_adapter(model, None)
        assert torch.equal(model(image, coords), before)


def test_batches_may_mix_granularities_with_none() -> None:
    model, image, coords = small_model()
    attach_adapter(model, random_adapter())
    with torch.no_grad():
        mixed = model(image, coords, torch.tensor([7, -1, 0]))
        for index, one in enumerate((torch.tensor([7]), None, torch.tensor([0]))):
            alone = model(image[index : index + 1], coords[index : index + 1], one)
            torch.testing.assert_close(mixed[index : index + 1], alone, rtol=1e-4, atol=1e-4)


def test_granularity_without_adapter() -> None:
    model, image, coords = small_model()
    with pytest.raises(ValueError, match="adapter"):
        model(image, coords, torch.tensor([0, 0, 0]))


def test_only_the_adapter_is_trained() -> None:
    model, image, coords = small_model()
    model.requires_grad_(False)
    adapter = random_adapter()
    attach_adapter(model, adapter)
    model(image, coords, torch.tensor([0, -1, 9])).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapter.parameters())
    assert adapter.table.grad is not None
    assert adapter.table.grad.any(dim=1).tolist() == [True, *[False] * 8, True]
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if "adapter" not in name)


@pytest.mark.parametrize("projections", ["qk", "qv"])
def test_merged_lora_predicts_the_same_to_the_bit(projections: str) -> None:
    model, image, coords = small_model()
    adapter = random_adapter(projections)
    attach_adapter(model, adapter)
    rows = [None, torch.tensor([-1, 0, 9])]
    with torch.no_grad():
        expected = [model(image, coords, bins) for bins in rows]
        merge_lora(model)
        for bins, logits in zip(rows, expected, strict=True):
            assert torch.equal(model(image, coords, bins), logits)
    assert model.has_granularity
    assert [name for name, _ in model.named_parameters() if name.startswith("adapter.")] == ["adapter.table"]
    merge_lora(model)
    with torch.no_grad():
        assert torch.equal(model(image, coords), expected[0]), "a second time there is nothing to merge"


def test_merged_lora_without_a_table() -> None:
    model, image, coords = small_model()
    adapter = Adapter(160, 8, granularity=False)
    adapter.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for b in adapter.lora_B:
            b.normal_(generator=torch.Generator().manual_seed(1))
        attach_adapter(model, adapter)
        expected = model(image, coords)
        merge_lora(model)
        assert torch.equal(model(image, coords), expected)
    assert not model.has_granularity
    with pytest.raises(ValueError, match="no granularity table"):
        model(image, coords, torch.tensor([0, 0, 0]))


@pytest.mark.parametrize("projections", ["qk", "qv"])
def test_round_trip(tmp_path: Path, projections: str) -> None:
    adapter = random_adapter(projections)
    save_adapter(tmp_path / "a.safetensors", adapter)
    save_adapter(tmp_path / "b.safetensors", adapter)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded, info = load_adapter(tmp_path / "a.safetensors")
    assert (loaded.projections, info.projections, info.rank) == (projections, projections, 8)
    for ours, theirs in zip(loaded.parameters(), adapter.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_phrase_branch_of_released_files_is_left_out() -> None:
    adapter = random_adapter("qv")
    state = adapter.released_state() | {
        "backbone.blocks.0.attn.qkv.lora_A2": torch.ones(16, 160),
        "backbone.blocks.0.attn.qkv.lora_B2": torch.ones(320, 8),
        "phrase_encoder.phrase2gra_proj.weight": torch.ones(160, 512),
        "phrase_encoder.phrase2gra_proj.bias": torch.ones(160),
    }
    assert torch.equal(adapter_from_state(state, "qv").update(0), adapter.update(0))


def test_wrong_tensors_are_named() -> None:
    state = random_adapter().released_state()
    with pytest.raises(UserError, match=r"unexpected phrase_encoder\.other"):
        adapter_from_state(state | {"phrase_encoder.other": torch.ones(1)}, "qk")
    with pytest.raises(UserError, match=r"blocks\.3\.attn\.qkv\.lora_B of shape \(320, 8\) is missing"):
        adapter_from_state({key: value for key, value in state.items() if "3.attn.qkv.lora_B" not in key}, "qk")
    with pytest.raises(UserError, match=r"gra_embed\.weight has shape \(9, 160\) instead of \(10, 160\)"):
        adapter_from_state(state | {"backbone.gra_embed.weight": torch.ones(9, 160)}, "qk")


def test_adapter_of_another_width() -> None:
    with pytest.raises(UserError, match="12 blocks of width 768, but xtiny has 8 of width 160"):
        attach_adapter(small_model()[0], Adapter(768, 12))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"projections": "kv"}, "unknown projections 'kv'; possible: qk, qv"),
        ({"projections": None}, "unknown projections None"),
        ({"origin": "mine"}, "its origin is damaged"),
        ({"origin": {"proposals": 3}}, "its origin is damaged"),
        ({"origin": {"config": {"augment": {"size": "large"}}}}, "its origin is damaged"),
    ],
)
def test_damaged_metadata_is_one_line(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = tmp_path / "a.safetensors"
    metadata = {"format": FORMAT, "kind": "adapter", "projections": "qk", **changes}
    safetensors.torch.save_file(random_adapter().released_state(), path, {METADATA: json.dumps(metadata)})
    with pytest.raises(UserError, match=said):
        load_adapter(path)


def test_an_adapter_of_no_numbers_is_refused(tmp_path: Path) -> None:
    adapter = random_adapter()
    with torch.no_grad():
        adapter.lora_A[3][0, 0] = float("nan")
    save_adapter(tmp_path / "a.safetensors", adapter)
    with pytest.raises(UserError, match=r"blocks\.3\.attn\.qkv\.lora_A holds numbers that are not finite"):
        load_adapter(tmp_path / "a.safetensors")
