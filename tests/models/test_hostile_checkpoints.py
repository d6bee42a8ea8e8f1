"""Hostile files of models: one line for each, no code, and little memory."""

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import load_adapter, load_click_model, save_click_model
from agg_pipeline.models.inert_pickle import DamagedPickleError
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.models.stored_tensors import StoredTensor, leaves, read_stored
from schemas import limits
from schemas.errors import StorageError, UnusableFileError, UserError
from tests.models.hostile_files import make_all, saved

GROWTH = 64 << 20
"""Bytes that reading the files may take; the largest of them has 20 MB."""

READ_ALL = """
import resource, sys
from pathlib import Path
from agg_pipeline.models.checkpoints import load_adapter, load_click_model
from schemas.errors import UserError

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    for load in (load_click_model, load_adapter):
        try:
            load(path)
            print(path.name, load.__name__, "LOADED")
        except UserError as error:
            print(path.name, load.__name__, ascii(str(error).replace(str(path), "FILE")))
print("grown", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What reading each hostile file gave, in a process of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    proof = tmp_path_factory.mktemp("proof") / "proof"
    make_all(folder, proof)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, folder],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
    )
    assert done.returncode == 0, done.stderr
    *lines, grown = done.stdout.splitlines()
    assert not proof.exists()
    names = {path.name for path in folder.iterdir()}
    assert len(names) > 120
    assert len(lines) == 2 * len(names)
    return {tuple(line.split(" ", 2)[:2]): line.split(" ", 2)[2] for line in lines}, int(grown.split()[1])


def test_every_file_is_refused_in_one_printable_line(results):
    for name, text in results[0].items():
        assert text != "LOADED", name
        assert "\\n" not in text, name
        assert "\\x1b" not in text.replace("\\\\x1b", ""), name
        assert len(text) < 600, name


def test_no_file_takes_much_memory(results):
    assert results[1] < GROWTH


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("code-config.pth", "it names posix.system, which is no part of a model"),
        ("code-config-legacy.pth", "it names posix.system, which is no part of a model"),
        ("call-hub.pth", "it names torch.hub.load_state_dict_from_url, which is no part of a model"),
        ("zip-deflated.pth", "its entries are compressed; save it again with torch.save"),
        ("zip-script.pth", "it is a TorchScript archive; save the model's state_dict"),
        ("zip-two.pth", "entries of it share a name"),
        ("zip-directory.pth", "its directory is too long"),
        ("zip-large-pickle.pth", "its entry data.pkl is missing or larger than 16777216 bytes"),
        ("tensor-stride-0.pth", "a tensor claims more than the 1 numbers that are stored for it"),
        ("tensor-overlapping.pth", "a tensor claims more than the 100 numbers that are stored for it"),
        ("tensor-no-rows.pth", "a tensor has no numbers"),
        ("tensor-2-63.pth", "a tensor has no numbers"),
        ("sparse.pth", "not a SimpleClick xtiny: patch_embed_coords.proj.weight of shape (160, 3, 16, 16) is missing"),
        ("sparse.safetensors", "not a SimpleClick xtiny: patch_embed_coords.proj.weight of shape (160, 3, 16, 16) is"),
        ("config-digits.pth", "its pickle has an integer of more than 128 bits"),
        ("tensor-sparse.pth", "backbone.patch_embed.proj.weight in it is made by torch._utils._rebuild_sparse_tensor"),
        ("tensor-complex.pth", "backbone.patch_embed.proj.weight in it is of torch.ComplexFloatStorage"),
        ("header-long.safetensors", "neither a .pth checkpoint nor safetensors"),
        ("side-2-63.safetensors", "a has the shape (0, 9223372036854775808); a tensor has at most 16 dimensions, each"),
        ("side-2-64.safetensors", "a has the shape (18446744073709551615, 0); a tensor has at most 16 dimensions"),
        ("sides.safetensors", f"a has the shape ({'1, ' * 66}1...; a tensor has at most 16 dimensions, each between 1"),
        ("positions.safetensors", "its position embedding is for an input of 11200 px; the largest is 4096 px"),
    ],
)
def test_the_message_says_what_is_wrong(results, name, said):
    assert said in results[0][name, "load_click_model"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zip-flipped.pth", "its checksum is wrong"),
        ("zip-short-storage.pth", "its storage 0 is missing or of another size"),
        ("tensor-shared.pth", "its tensors claim more numbers than it holds"),
        ("giant-rank.safetensors", "it is for a model of width 160, and of rank 1025"),
        ("giant-width.safetensors", "it is for a model of width 16385, and of rank 0"),
        ("giant-side.safetensors", "backbone.gra_embed.weight has the shape (0, 68719476736); a tensor has at most"),
        ("no-rank.safetensors", "backbone.blocks.0.attn.qkv.lora_A has the shape (0, 160); a tensor has at most 16"),
        ("giant-phrases.pth", "its branch for phrases has 83886080 numbers"),
        (
            "size-True.safetensors",
            "its origin is damaged: expected int | null, got bool, at origin.config.augment.size",
        ),
        ("size-0.safetensors", "its origin is damaged: expected int >= 32, at origin.config.augment.size"),
        ("size-4097.safetensors", "its origin is damaged: expected int <= 4096, at origin.config.augment.size"),
        ("metadata-nan.safetensors", "its metadata is not JSON: invalid character (byte 49)"),
        ("long-projections.safetensors", f"unknown projections '{'q' * 199}...; possible: qk, qv"),
        (
            "long-origin.safetensors",
            "its origin is damaged: expected str of length <= 64, at origin.base_sha256",
        ),
        ("dtype-I64.safetensors", "backbone.gra_embed.weight is of torch.int64, not of a float type"),
        ("tensor-too-large.pth", "backbone.gra_embed.weight holds numbers that are not finite"),
        ("tensor-nan-legacy.pth", "backbone.gra_embed.weight holds numbers that are not finite"),
        ("tensor-control.pth", "unexpected \\\\x1b[2J of shape (1,)"),
    ],
)
def test_the_message_says_what_is_wrong_with_an_adapter(results, name, said):
    assert said in results[0][name, "load_adapter"]


def refused(path, kind):
    for load in (load_click_model, load_adapter):
        with pytest.raises(kind) as error:
            load(path)
        assert type(error.value) is kind
        assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert "is a pipe" in refused(tmp_path / "pipe", UnusableFileError)
    assert "is a loop of links" in refused(tmp_path / "loop", UnusableFileError)
    assert "is a device" in refused(tmp_path / "zero", UnusableFileError)
    assert "is a folder" in refused(tmp_path, UnusableFileError)
    assert "does not exist" in refused(tmp_path / "a\0b", UserError)
    assert "does not exist" in refused(tmp_path / ("a" * 300), UserError)


def test_a_file_above_the_limit_is_refused(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(limits.MODEL_BYTES + 1)
    assert f"the limit of such files is {limits.MODEL_BYTES:,}" in refused(tmp_path / "large", UnusableFileError)


def test_a_file_that_cannot_be_read_now_is_no_damaged_one(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")

    def fail(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    assert refused(tmp_path / "file", StorageError) == f"cannot read {tmp_path / 'file'}: Permission denied"


def small_model():
    torch.manual_seed(0)
    return SimpleClick(ARCHITECTURES["xtiny"], 96)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_click_model_of_no_numbers_is_refused(tmp_path, value):
    model = small_model()
    with torch.no_grad():
        model.backbone.blocks[3].attn.qkv.weight[0, 0] = value
    torch.save({"state_dict": model.state_dict(), "config": {}}, tmp_path / "m.pth")
    save_click_model(tmp_path / "half", model)
    save_click_model(tmp_path / "full", model, half=False)
    for name in ("m.pth", "half", "full"):
        with pytest.raises(
            UserError, match=r"backbone\.blocks\.3\.attn\.qkv\.weight holds numbers that are not finite"
        ):
            load_click_model(tmp_path / name)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_a_common_prefix_is_stripped(tmp_path, prefix):
    model, adapter = small_model(), Adapter(160, 8)
    torch.save({"state_dict": {prefix + name: value for name, value in model.state_dict().items()}}, tmp_path / "m.pth")
    loaded, _ = load_click_model(tmp_path / "m.pth")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    torch.save(
        {"state_dict": {prefix + name: value for name, value in adapter.released_state().items()}}, tmp_path / "a.pth"
    )
    assert load_adapter(tmp_path / "a.pth")[1].rank == 8


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("legacy", [False, True])
def test_all_float_types_of_both_formats_are_read(tmp_path, dtype, legacy):
    state = {name: value.to(dtype) for name, value in small_model().state_dict().items()}
    path = tmp_path / "m.pth"
    content = {"state_dict": state, "config": {}, "lr": np.float64(0.1), "epoch": np.int64(3), "lrs": np.ones(3)[0]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    loaded, _ = load_click_model(path)
    assert all(torch.equal(value, state[name].float()) for name, value in loaded.state_dict().items())


def test_parameters_and_views_are_read_as_torch_reads_them(tmp_path):
    numbers = torch.arange(24.0)
    tensors = {
        "transposed": numbers[:12].view(3, 4).t(),
        "parameter": torch.nn.Parameter(torch.ones(2, 3)),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(5),
        "part": numbers[12:20:2],
    }
    for legacy in (False, True):
        torch.save(tensors, tmp_path / "t.pth", _use_new_zipfile_serialization=not legacy)
        with (tmp_path / "t.pth").open("rb") as stream:
            stored = read_stored(stream, (tmp_path / "t.pth").stat().st_size, lambda _name: None)
            found = stored.read(stored.value)
        expected = torch.load(tmp_path / "t.pth", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert value.dtype == expected[name].dtype
            assert torch.equal(value, expected[name].detach())


def test_leaves_of_a_value_that_contains_itself_many_times_are_limited():
    value = [1, 2]
    assert sorted(leaves({"a": value, "b": (value,)})) == [1, 1, 2, 2]
    for _ in range(40):
        value = [value, value]
    with pytest.raises(DamagedPickleError, match="more than 1000000 values"):
        list(leaves(value))


def test_a_storage_has_one_description():
    content = saved({"a": torch.zeros(4)})
    stored = read_stored(io.BytesIO(content), len(content), lambda _name: None)
    first = stored.value["a"]
    other = StoredTensor(type(first.storage)(torch.int32, first.storage.key, 4), 0, (4,), (1,))
    assert stored.read({"a": first})["a"].tolist() == [0, 0, 0, 0]
    with pytest.raises(DamagedPickleError, match="in two ways"):
        stored.read({"a": first, "b": other})


def stand_in(name):
    """A class under the name of one of the authors' program."""
    module, _, own = name.rpartition(".")
    return type(own, (), {"__module__": module, "__init__": ignored, "__setstate__": ignored})


def ignored(_self, *_arguments):
    pass


@pytest.mark.golden
@pytest.mark.parametrize("name", ["xtiny224", "xtiny448", "xtiny448_adapter_qv"])
def test_released_files_hold_what_torch_reads(shared, name):
    path = shared / "checkpoints" / f"{name}.pth"
    with path.open("rb") as stream:
        stored = read_stored(stream, path.stat().st_size, lambda _name: None)
        found = stored.read(stored.value["state_dict"])
    with safe_globals([stand_in(each) for each in get_unsafe_globals_in_checkpoint(path)]):
        expected = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
