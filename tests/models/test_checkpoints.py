"""Checkpoint files: what is read, what is refused, and that nothing in a file runs."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from torch import Tensor

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import (
    default_checkpoint,
    load_adapter,
    load_click_model,
    save_adapter,
    save_click_model,
)
from agg_pipeline.models.convert import convert
from agg_pipeline.models.simpleclick import SimpleClick
from schemas.errors import UserError

UNUSED_SHAPES = {
    "backbone.cls_token": (1, 1, 160),
    "backbone.fc_norm.weight": (160,),
    "backbone.head.weight": (1000, 160),
    "head.up_conv1.0.weight": (128, 64, 2, 2),
    "head.up_conv2.3.bias": (32,),
}


class Runs:
    """Pickles to a call of a function, as malicious files do."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def small_model() -> SimpleClick:
    torch.manual_seed(0)
    return SimpleClick(ARCHITECTURES["xtiny"], 96)


def released_state(model: SimpleClick) -> dict[str, Tensor]:
    return model.state_dict() | {key: torch.zeros(shape) for key, shape in UNUSED_SHAPES.items()}


def entry(value: Any) -> dict[str, Any]:
    return {"type": "builtin", "value": value, "specified": True}


def message(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        load_click_model(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def same_tensors(a: SimpleClick, b: SimpleClick) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package that exists while files are written, and is gone when they are read."""
    module = ModuleType("isegm.losses")
    exec("class CrossEntropyLoss:\n    pass\ndef cross_entropy():\n    raise AssertionError", module.__dict__)
    monkeypatch.setitem(sys.modules, "isegm", ModuleType("isegm"))
    monkeypatch.setitem(sys.modules, "isegm.losses", module)
    return module


def test_default_checkpoint() -> None:
    path = default_checkpoint()
    model, info = load_click_model(path)
    assert (info.architecture, info.input_size) == ("xtiny", 224)
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not model.training
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())


@pytest.mark.golden
def test_released_file_is_converted_to_half_precision(shared: Path, tmp_path: Path) -> None:
    source, target = shared / "checkpoints" / "xtiny224.pth", tmp_path / "model.safetensors"
    result = CliRunner().invoke(convert, [str(source), str(target)])
    assert result.exit_code == 0, result.output
    ours, released = (load_click_model(path)[0].state_dict() for path in (target, source))
    assert ours.keys() == released.keys()
    assert all(torch.equal(ours[name], released[name].half().float()) for name in released)


def test_shipped_files_are_small() -> None:
    assert default_checkpoint().stat().st_size <= 10_000_000


@pytest.mark.parametrize("half", [True, False])
def test_round_trip_is_deterministic(tmp_path: Path, half: bool) -> None:
    model = small_model()
    model.adapter = Adapter(160, 8)  # has learnt nothing: its table is in the file, its LoRA changes no weight
    files = [tmp_path / "a.safetensors", tmp_path / "b.pth"]
    for path in files:
        save_click_model(path, model, half)
    assert files[0].read_bytes() == files[1].read_bytes()
    loaded, info = load_click_model(files[1])  # the content counts, not the suffix
    assert info.input_size == 96
    expected = model.state_dict()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, expected[key].half().float() if half else expected[key])


def test_same_bytes_from_another_process(tmp_path: Path) -> None:
    source, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_click_model(source, small_model())
    subprocess.run([sys.executable, "-m", "agg_pipeline.models.convert", source, target], check=True, timeout=120)
    assert source.read_bytes() == target.read_bytes()
    header = json.loads(source.read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    assert json.loads(header["__metadata__"]["agg"])["architecture"] == "xtiny"


def test_another_input_size(tmp_path: Path) -> None:
    save_click_model(tmp_path / "m", small_model())
    model, info = load_click_model(tmp_path / "m", 128)
    assert (info.input_size, model.backbone.pos_embed.shape[1]) == (128, 65)
    with pytest.raises(UserError, match="cannot take 100x100"):
        load_click_model(tmp_path / "m", 100)


def test_released_file_with_foreign_classes(
    tmp_path: Path, foreign: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    loss = foreign.CrossEntropyLoss()
    loss.function = foreign.cross_entropy
    params = {"use_disks": entry(True), "head_params": entry({"upsample": "x1", "loss_decode": loss})}
    content = {"state_dict": released_state(model), "config": {"class": "isegm.Model", "params": params}}
    torch.save(content, tmp_path / "m.pth")
    monkeypatch.undo()
    loaded, _ = load_click_model(tmp_path / "m.pth")
    assert same_tensors(loaded, model)
    assert "isegm" not in sys.modules


@pytest.mark.golden
@pytest.mark.parametrize(("name", "size"), [("xtiny224", 224), ("xtiny448", 448)])
def test_released_files(shared: Path, name: str, size: int) -> None:
    model, info = load_click_model(shared / "checkpoints" / f"{name}.pth")
    assert (info.architecture, info.input_size, model.input_size) == ("xtiny", size, size)


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), "posix.system"),
        (Path.touch, (Path("{}"),), "getattr"),  # how a method is pickled
        (exec, ("open('{}', 'w')",), "builtins.exec"),
        (subprocess.check_call, (["touch", "{}"],), "check_call"),
    ],
)
@pytest.mark.parametrize("place", ["alone", "config", "state", "loss"])
def test_code_in_a_file_does_not_run(
    tmp_path: Path, foreign: ModuleType, place: str, function: Any, arguments: tuple[Any, ...], name: str
) -> None:
    proof = tmp_path / "proof"

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(item) for item in value]
        return type(value)(str(value).replace("{}", str(proof)))

    payload: Any = Runs(function, *[fill(argument) for argument in arguments])
    content: dict[str, Any] = {"state_dict": released_state(small_model()), "config": {"class": "isegm.Model"}}
    if place == "alone":
        content = payload
    elif place == "config":
        content["config"]["params"] = {"head_params": entry({"loss_decode": payload})}
    elif place == "state":
        content["state_dict"]["backbone.extra"] = payload
    else:
        loss = foreign.CrossEntropyLoss()
        loss.function = payload
        content["config"]["params"] = {"loss_decode": entry(loss)}
    path = tmp_path / "m.pth"
    torch.save(content, path)
    assert name in message(path)
    path.write_bytes(pickle.dumps(payload))
    message(path)
    assert not proof.exists()


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    assert "does not exist" in message(path)
    for content in (b"", b"text", b"PK\x03\x04", os.urandom(1000)):
        path.write_bytes(content)
        message(path)
    torch.save([torch.ones(1)], path)
    assert "no state_dict" in message(path)
    torch.save({"state_dict": {"a": 1}}, path)
    assert "no state_dict" in message(path)
    path.unlink()
    path.mkdir()
    assert "is a folder" in message(path)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_truncated_files(tmp_path: Path, share: float) -> None:
    model = small_model()
    torch.save({"state_dict": released_state(model)}, tmp_path / "m.pth")
    save_click_model(tmp_path / "m.safetensors", model)
    for path in (tmp_path / "m.pth", tmp_path / "m.safetensors"):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert "truncated" in message(path)


def test_first_mismatch_is_named(tmp_path: Path) -> None:
    state = released_state(small_model())
    path = tmp_path / "m.pth"

    def refused(**changes: Tensor | None) -> str:
        changed = {key: value for key, value in (state | changes).items() if value is not None}
        torch.save({"state_dict": changed}, path)
        return message(path)

    wide = {"backbone.blocks.1.attn.proj.weight": torch.ones(2, 2), "backbone.blocks.0.mlp.fc1.bias": torch.ones(3)}
    assert "backbone.blocks.0.mlp.fc1.bias has shape (3,) instead of (640,)" in refused(**wide)
    assert "neck.down_8.2.bias of shape (192,) is missing" in refused(**{"neck.down_8.2.bias": None})
    assert "unexpected head.up_conv3.weight of shape (1,)" in refused(**{"head.up_conv3.weight": torch.ones(1)})
    positions = {"backbone.pos_embed": torch.ones(1, 40, 160)}
    assert "backbone.pos_embed has shape (1, 40, 160) instead of (1, 785, 160)" in refused(**positions)


def test_another_architecture(tmp_path: Path) -> None:
    tiny = {key: torch.zeros(1) for key in small_model().state_dict()}
    safetensors.torch.save_file(tiny, tmp_path / "m.safetensors")
    text = message(tmp_path / "m.safetensors")
    assert "patch_embed_coords.proj.weight has shape (1,) instead of (160, 3, 16, 16)" in text


@pytest.mark.parametrize(
    ("name", "value"), [("num_heads", 8), ("upsample", "x4"), ("use_disks", False), ("norm_radius", 260)]
)
def test_settings_of_another_network(tmp_path: Path, name: str, value: Any) -> None:
    params = {name: entry(value)} if name.startswith("use") else {"head_params": entry({name: value})}
    content = {"state_dict": released_state(small_model()), "config": {"class": "Model", "params": params}}
    torch.save(content, tmp_path / "m.pth")
    assert f"{name} = {value!r}" in message(tmp_path / "m.pth")


def test_model_and_adapter_are_told_apart(tmp_path: Path) -> None:
    save_click_model(tmp_path / "model", small_model())
    save_adapter(tmp_path / "adapter", Adapter(160, 8))
    assert "GraCo adapter, not a click model" in message(tmp_path / "adapter")
    with pytest.raises(UserError, match="click model, not a GraCo adapter"):
        load_adapter(tmp_path / "model")


def test_convert_reports_errors_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(convert, [str(tmp_path / "missing.pth"), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.output.strip() == f"Error: {tmp_path / 'missing.pth'} does not exist"
