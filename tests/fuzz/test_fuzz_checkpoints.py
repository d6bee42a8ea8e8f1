"""Mutated files of models, adapters and trainings: one line each, or they load."""

import io
import json
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.checkpoints import load_adapter, load_click_model, save_adapter
from agg_pipeline.models.file_metadata import Origin
from agg_pipeline.training.training_checkpoint import checksum, restore_checkpoint, save_checkpoint
from agg_pipeline.training.training_folder import CHECKPOINT
from tests.fuzz.mutations import fuzzed, json_text, mutated_archive, mutated_bytes, mutated_json, outcome
from tests.models.hostile_files import safetensors_file

ENDS = {"ok", "UserError", "UnusableFileError"}


def small_adapter() -> Adapter:
    adapter = Adapter(4, 2, 1, "qv")
    adapter.initialise(torch.Generator().manual_seed(0))
    return adapter


def released(legacy: bool) -> bytes:
    """An adapter as the authors' program writes it, with settings of a model."""
    params = {"use_disks": {"type": "builtin", "value": True}, "head": {"value": {"upsample": "x1", "radius": 0.5}}}
    content = {"state_dict": small_adapter().released_state(), "config": {"class": "isegm.Model", "params": params}}
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def learner() -> tuple[dict[str, torch.nn.Parameter], torch.optim.Optimizer]:
    learning = {"matrix": torch.nn.Parameter(torch.ones(3, 4)), "bias": torch.nn.Parameter(torch.ones(3))}
    optimizer = torch.optim.Adam([{"params": list(learning.values()), "highest": 0.1}], lr=0.1)
    sum(value.sum() for value in learning.values()).backward()
    optimizer.step()
    return learning, optimizer


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where the variants are written."""
    return tmp_path_factory.mktemp("fuzz")


def ours(place: Path) -> tuple[dict, bytes]:
    """Header and numbers of an adapter in our format."""
    origin = Origin("f" * 64, ("a" * 32,), {"augment": {"size": 224, "view": "crop"}, "training": {"lr": 0.1}})
    save_adapter(place / "good", small_adapter(), origin)
    content = (place / "good").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def models_end_well(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert outcome(lambda: load_adapter(path)) in ENDS
    assert outcome(lambda: load_click_model(path)) in ENDS


def test_the_good_files_load(place):
    header, numbers = ours(place)
    whole = safetensors_file(json_text(header).encode(), numbers)
    for content in (released(legacy=False), released(legacy=True), whole):
        (place / "good").write_bytes(content)
        assert outcome(lambda: load_adapter(place / "good")) == "ok"


@fuzzed
@given(st.one_of(*(mutated_bytes(released(legacy)) for legacy in (False, True))))
@example(released(legacy=False)[:-1])
def test_bytes_of_released_files(place, content):
    models_end_well(place / "bytes", content)


@fuzzed
@given(mutated_archive(entries(released(legacy=False))))
def test_entries_of_released_files(place, content):
    models_end_well(place / "entries", content)


@fuzzed
@given(mutated_bytes(entries(released(legacy=False))["archive/data.pkl"], most=3))
@example(b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.")
@example(b"\x80\x02Nr\xff\xff\xff\xff.")
def test_pickles_of_released_files(place, pickled):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries(released(legacy=False)).items():
            archive.writestr(name, pickled if name == "archive/data.pkl" else content)
    models_end_well(place / "pickle", stream.getvalue())


@fuzzed
@given(data=st.data())
def test_headers_of_safetensors(place, data):
    header, numbers = ours(place)
    content = safetensors_file(data.draw(mutated_json(header)).encode(errors="replace"), numbers)
    models_end_well(place / "header", content)


@fuzzed
@given(data=st.data())
def test_metadata_of_safetensors(place, data):
    header, numbers = ours(place)
    about = data.draw(mutated_json(json.loads(header["__metadata__"]["agg"])))
    changed = header | {"__metadata__": {"agg": about}}
    models_end_well(place / "metadata", safetensors_file(json.dumps(changed).encode(), numbers))


@fuzzed
@given(data=st.data())
def test_bytes_of_safetensors(place, data):
    header, numbers = ours(place)
    whole = safetensors_file(json.dumps(header).encode(), numbers)
    models_end_well(place / "bytes", data.draw(mutated_bytes(whole)))


def checkpoint() -> bytes:
    """A checkpoint of a training."""
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), {"config": "a"}, 3, *learner())
        return (Path(folder) / CHECKPOINT).read_bytes()


GOOD = checkpoint()


@fuzzed
@given(st.one_of(mutated_bytes(GOOD), mutated_archive(entries(GOOD))))
def test_checkpoints_of_trainings(place, content):
    (place / CHECKPOINT).write_bytes(content)
    learning, optimizer = learner()
    expected = checksum({"learning": learning, "optimizer": optimizer.state_dict()})
    assert outcome(lambda: restore_checkpoint(place, {"config": "a"}, 5, learning, optimizer)) in ENDS
    # Whatever is resumed is what was saved; what is refused changes nothing.
    assert checksum({"learning": learning, "optimizer": optimizer.state_dict()}) == expected
