"""Mutated files of models, adapters and trainings: one line each, or they load."""

import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from agg_pipeline.models.adapter import TABLE_KEY, Adapter
from agg_pipeline.models.checkpoints import load_adapter, load_click_model, save_adapter
from agg_pipeline.models.file_metadata import Origin
from agg_pipeline.training.training_checkpoint import checksum, restore_checkpoint, save_checkpoint
from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.errors import UserError
from tests.fuzz.mutations import NUMBERS, fuzzed, json_text, mutated_archive, mutated_bytes, mutated_json, outcome
from tests.models.hostile_files import archive, safetensors_file

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


SIDES = st.one_of(st.integers(0, 10), st.sampled_from((160, 2**24 + 1, *NUMBERS)))


@fuzzed
@given(st.lists(SIDES, max_size=20), st.sampled_from(("F32", "F16", "BOOL", "F8_E4M3", "F4")), st.integers(0, 64))
@example([0, 2**63], "F32", 0)
@example([2**64 - 1, 0], "F32", 0)
@example([1] * 5000, "F32", 4)
def test_shapes_in_safetensors(place, shape, dtype, size):
    header = {TABLE_KEY: {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
    models_end_well(place / "shapes", safetensors_file(header, bytes(size)))


def adapter_of(sides: list[tuple[int, int]], offset: int, numel: int) -> bytes:
    """A released file whose table has the (side, stride) of each dimension, in a storage of 1600 numbers."""
    shape, stride = (tuple(each[n] for each in sides) for n in (0, 1))
    storage = b"(" + value("storage") + b"ctorch\nFloatStorage\n" + value("0") + value("cpu") + value(numel) + b"tQ"
    view = storage + value(offset) + value(shape) + value(stride) + b"\x89ccollections\nOrderedDict\n)R"
    table = b"ctorch._utils\n_rebuild_tensor_v2\n(" + view + b"tR"
    pickled = b"\x80\x02}" + value("state_dict") + b"}" + value(TABLE_KEY) + table + b"ss."
    return archive(("archive/data.pkl", pickled), ("archive/data/0", bytes(6400)))


def value(content: Any) -> bytes:
    """The part of a pickle that pushes a value."""
    return pickle.dumps(content, 2)[2:-1]


def test_a_good_shape_in_a_released_file_loads(place):
    (place / "good").write_bytes(adapter_of([(10, 160), (160, 1)], 0, 1600))
    assert outcome(lambda: load_adapter(place / "good")) == "ok"


@fuzzed
@given(st.lists(st.tuples(SIDES, SIDES), max_size=20), SIDES, st.one_of(st.just(1600), SIDES))
@example([(0, 1)], 0, 1600)
@example([(0, 1), (2**63, 1)], 0, 1600)
@example([(10**5000, 0)], 0, 1600)
def test_shapes_in_released_files(place, sides, offset, numel):
    models_end_well(place / "shapes", adapter_of(sides, offset, numel))


def checkpoint() -> bytes:
    """A checkpoint of a training."""
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), {"config": "a"}, 1, *learner())
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


ODD = (
    *(
        None,
        True,
        -1,
        0,
        1,
        2,
        3,
        4,
        10**5000,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        b"x",
        [],
        {},
        (),
        [[0]] * 1000,
    ),
    *(torch.tensor(number) for number in (-5.0, 0.0, 1.0, float("nan"), 1e38)),
    *(torch.zeros(3, 4, dtype=dtype) for dtype in (torch.float32, torch.float64, torch.int64, torch.bool)),
    *(torch.full((3,), number) for number in (-1.0, 1e38, float("inf"))),
    *(torch.zeros(2), torch.zeros(0), torch.zeros(1).expand(3), torch.full((3, 4), 1e300, dtype=torch.float64)),
)
"""Values that a checkpoint might hold in another's place."""


def places(content: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to each value in nested dicts and lists."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [here, *(place for key, each in inner for place in places(each, (*here, key)))]


def with_changes(content: Any, changes: dict[tuple[Any, ...], Any], here: tuple[Any, ...] = ()) -> Any:
    """The content with other values in some places."""
    if here in changes:
        return changes[here]
    if isinstance(content, dict):
        return {key: with_changes(each, changes, (*here, key)) for key, each in content.items()}
    if isinstance(content, list):
        return [with_changes(each, changes, (*here, number)) for number, each in enumerate(content)]
    return content


LOADED = torch.load(io.BytesIO(GOOD), weights_only=True)
COUNTER = ("optimizer", "state", 0, "step")


@fuzzed
@given(st.dictionaries(st.sampled_from([*places(LOADED), ("more",)][1:]), st.sampled_from(ODD), min_size=1, max_size=3))
@example({("step",): 10**5000})
@example({("identity", "config"): 10**5000})
@example({COUNTER: torch.tensor(-5.0)})
@example({COUNTER: torch.tensor(-5.0), ("step",): 0})
def test_contents_of_checkpoints_of_trainings(place, changes):
    content = with_changes(LOADED, changes)
    content.pop("checksum", None)
    try:
        seal = checksum(content)
    except (ValueError, UserError):
        seal = LOADED["checksum"]
    torch.save(content | {"checksum": seal}, place / CHECKPOINT)
    learning, optimizer = learner()
    if outcome(lambda: restore_checkpoint(place, {"config": "a"}, 5, learning, optimizer)) == "ok":
        # Whatever is resumed can be trained on.
        sum(value.sum() for value in learning.values()).backward()
        optimizer.step()
        assert all(value.isfinite().all() for value in learning.values())
