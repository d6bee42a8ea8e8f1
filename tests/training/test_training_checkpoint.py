"""Checkpoints of a training: what is read back, and what is refused."""

import io
import math
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from agg_pipeline.models import stored_tensors
from agg_pipeline.training import training_checkpoint
from agg_pipeline.training.train_and_save import train_and_save
from agg_pipeline.training.training_checkpoint import (
    checksum,
    read_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.errors import StorageError, UnusableFileError, UserError
from tests.models.hostile_files import Touch
from tests.training.conftest import Steps

IDENTITY = {"config": "a", "base": "b"}
STEPS = 6


def learner(slope=0.0, steps=3):
    """Two parameters and their optimiser; if there is a slope, after some steps."""
    learning = {
        "matrix": torch.nn.Parameter(torch.arange(600.0).view(20, 30)),
        "bias": torch.nn.Parameter(torch.ones(3)),
    }
    optimizer = torch.optim.Adam([{"params": list(learning.values()), "highest": 0.1}], lr=0.1)
    for _ in range(steps if slope else 0):
        optimizer.zero_grad()
        sum(value.square().sum() * slope for value in learning.values()).backward()
        optimizer.step()
    return learning, optimizer


@pytest.fixture
def out(tmp_path):
    """A folder with a checkpoint."""
    save_checkpoint(tmp_path, IDENTITY, 3, *learner(0.5))
    return tmp_path


def restored(out):
    """Parameters and optimiser after the checkpoint was loaded, and its step."""
    learning, optimizer = learner()
    return restore_checkpoint(out, IDENTITY, STEPS, learning, optimizer), learning, optimizer


def refused(out, kind=UserError):
    learning, optimizer = learner()
    with pytest.raises(kind) as error:
        restore_checkpoint(out, IDENTITY, STEPS, learning, optimizer)
    before, _ = learner()
    assert all(torch.equal(learning[name], before[name]) for name in before), "parameters were changed"
    text = str(error.value)
    assert text.isprintable()
    assert str(out) in text
    return text


def test_what_is_saved_is_restored(out):
    step, learning, optimizer = restored(out)
    expected, its_optimizer = learner(0.5)
    assert step == 3
    assert all(torch.equal(learning[name], expected[name]) for name in expected)
    assert checksum(optimizer.state_dict()) == checksum(its_optimizer.state_dict())
    assert [path.name for path in out.iterdir()] == [CHECKPOINT]


def test_torch_reads_a_checkpoint_too(out):
    content = torch.load(out / CHECKPOINT, weights_only=True)
    assert content["checksum"] == checksum({key: value for key, value in content.items() if key != "checksum"})
    assert content["step"] == 3


def test_no_flipped_bit_is_resumed(out):
    """In the numbers, the names, the directory: it is refused, or the content is the same."""
    path = out / CHECKPOINT
    whole = path.read_bytes()
    _, expected, optimizer = restored(out)
    same = checksum({"state": expected, "optimizer": optimizer.state_dict()})
    seen = 0
    for place in np.random.default_rng(0).choice(len(whole), 150, replace=False):
        for bit in (0, 6):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                step, learning, optimizer = restored(out)
            except UserError as error:
                assert "use --overwrite to start afresh" in str(error)
                seen += 1
                continue
            assert (step, checksum({"state": learning, "optimizer": optimizer.state_dict()})) == (3, same)
    assert seen > 100


@pytest.mark.parametrize("size", [0, 4, 100, 2000, -200, -1])
def test_a_truncated_checkpoint_is_refused(out, size):
    path = out / CHECKPOINT
    path.write_bytes(path.read_bytes()[:size])
    assert re.search(r"damaged or not a checkpoint \(.*\); use --overwrite to start afresh", refused(out))


def edited(out, change, forge):
    """Change a checkpoint's content; a forger makes the checksum right again."""
    content = torch.load(out / CHECKPOINT, weights_only=True)
    change(content)
    if forge:
        content.pop("checksum")
        content["checksum"] = checksum(content)
    torch.save(content, out / CHECKPOINT)


def setting(**values):
    return lambda content: content.update(values)


def nan_weight(content):
    content["state"]["matrix"][0, 0] = float("nan")


def other_shape(content):
    content["state"]["bias"] = torch.ones(4)


def moments_of_other_shape(content):
    content["optimizer"]["state"][0]["exp_avg"] = torch.ones(2)


def infinite_moment(content):
    content["optimizer"]["state"][1]["exp_avg_sq"][0] = float("inf")


def other_group(content):
    content["optimizer"]["param_groups"][0]["betas"] = (0.5, 0.5)


def all_state(convert):
    def change(content):
        content["state"] = {name: convert(value) for name, value in content["state"].items()}

    return change


def moment(name, convert):
    def change(content):
        content["optimizer"]["state"][0][name] = convert(content["optimizer"]["state"][0][name])

    return change


def all_counters(value):
    def change(content):
        for own in content["optimizer"]["state"].values():
            own["step"] = torch.tensor(value)

    return change


def group(**values):
    return lambda content: content["optimizer"]["param_groups"][0].update(values)


def no_moments(content):
    content["optimizer"]["state"] = {}


def one_moment_less(content):
    del content["optimizer"]["state"][1]["exp_avg_sq"]


def more_of(*keys, value=1):
    def change(content):
        for key in keys:
            content = content[key]
        content["more"] = value

    return change


def unknown_number(content):
    content["optimizer"]["state"][7] = content["optimizer"]["state"].pop(0)


CHANGES = [
    (setting(step=-3), "expected int >= 0"),
    (setting(step=7), "it is at step 7 of 6"),
    (setting(step=0), "it is at step 0 of 6"),
    (setting(step=2), "its optimiser has not made its 2 steps"),
    (setting(step=10**30), "is damaged"),
    (setting(step=torch.tensor(3)), "expected int, got StoredTensor"),
    (more_of("identity", value=torch.ones(3)), "expected str, got StoredTensor"),
    (more_of("identity", value=["a"] * 1000), "expected str, got array"),
    (more_of(), "it holds more than a checkpoint"),
    (more_of("optimizer"), "it holds more than a checkpoint"),
    (setting(step="x"), "expected int, got str"),
    (setting(step=None), "expected int, got null"),
    (setting(step=True), "expected int, got bool"),
    (setting(step=2.0), "is damaged"),
    (setting(state=[1]), "expected object, got array"),
    (setting(state={}), "it is for other parameters"),
    (setting(state={"matrix": 1, "bias": 2}), "a tensor is not of shape"),
    (setting(optimizer=None), "expected object, got null"),
    (setting(optimizer={}), "is damaged"),
    (setting(optimizer={"state": [], "param_groups": []}), "expected object, got array"),
    (setting(optimizer={"state": {}, "param_groups": []}), "it is of another optimiser"),
    (setting(optimizer={"state": {-1: {}}, "param_groups": []}), "expected int >= 0"),
    (setting(optimizer={"state": {}, "param_groups": 3}), "is damaged"),
    (setting(identity=[1]), "expected object, got array"),
    (nan_weight, "it holds numbers that are not finite"),
    (infinite_moment, "it holds numbers that are not finite"),
    (other_shape, "a tensor is not of shape (3,)"),
    (moments_of_other_shape, "a tensor is not of shape (20, 30)"),
    (other_group, "it is of another optimiser"),
    (unknown_number, "it has moments of other parameters"),
    (no_moments, "it lacks the moments of its optimiser"),
    (one_moment_less, "it has other moments than Adam"),
    (all_counters(-5.0), "its optimiser has not made its 3 steps"),
    (all_counters(4.0), "its optimiser has not made its 3 steps"),
    (moment("step", lambda _: torch.tensor(2.5)), "its optimiser has not made its 3 steps"),
    (moment("step", lambda _: 3), "a tensor is not of shape () and of torch.float32"),
    (moment("exp_avg", Tensor.double), "a tensor is not of shape (20, 30) and of torch.float32"),
    (moment("exp_avg", Tensor.long), "a tensor is not of shape (20, 30) and of torch.float32"),
    (moment("exp_avg_sq", Tensor.neg), "it holds negative averages of squares"),
    (all_state(Tensor.bool), "a tensor is not of shape (20, 30) and of torch.float32"),
    (all_state(lambda value: torch.full(value.shape, 1e300, dtype=torch.float64)), "a tensor is not of shape (20, 30)"),
    (group(lr="x"), "its learning rate is no number, or not finite"),
    (group(lr=float("nan")), "its learning rate is no number, or not finite"),
    (group(lr=torch.tensor(0.1)), "its learning rate is no number, or not finite"),
    (group(more=[1] * 1000), "it is of another optimiser"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_impossible_content_is_refused_even_with_its_checksum(out, change, said):
    edited(out, change, forge=True)
    text = refused(out)
    assert said in text
    assert "use --overwrite to start afresh" in text


@pytest.mark.parametrize(
    "change", [moment("exp_avg", Tensor.neg), setting(identity={"config": "a", "base": "b", "more": ""})]
)
def test_possible_content_is_refused_without_its_checksum(out, change):
    edited(out, change, forge=False)
    assert "its checksum is another one than that of its content" in refused(out)
    edited(out, change, forge=True)
    restored(out)


@pytest.mark.parametrize(
    "change",
    [setting(step=10**5000), more_of("identity", value=10**5000), group(more=10**5000), more_of(value=10**5000)],
)
def test_integers_of_thousands_of_digits_are_refused(out, change):
    edited(out, change, forge=False)
    assert "its pickle has an integer of more than 128 bits" in refused(out)


def test_what_is_missing_is_named(out):
    content = torch.load(out / CHECKPOINT, weights_only=True)
    for key in ("identity", "step", "state", "optimizer", "checksum"):
        torch.save({name: value for name, value in content.items() if name != key}, out / CHECKPOINT)
        assert f"is not a checkpoint, because it lacks {key}; use --overwrite" in refused(out)
    torch.save([1], out / CHECKPOINT)
    assert "because it lacks checksum" in refused(out)


def test_nothing_in_a_checkpoint_runs(out):
    proof = out / "proof"
    content = torch.load(out / CHECKPOINT, weights_only=True)
    for legacy in (False, True):
        torch.save(content | {"optimizer": Touch(proof)}, out / CHECKPOINT, _use_new_zipfile_serialization=not legacy)
        assert "it names posix.system, which is no part of a training" in refused(out)
    assert not proof.exists()


def test_compressed_and_nested_content_is_refused(out):
    edited(out, group(more=nested(200)), forge=False)
    assert "it is of another optimiser" in refused(out)
    with zipfile.ZipFile(out / CHECKPOINT, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
    assert "its entries are compressed" in refused(out)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [torch.zeros(2_500_000), "y" * 1_000_000])
@pytest.mark.parametrize("place", [("identity",), ("state",), ("optimizer", "state"), ("optimizer", "param_groups")])
def test_what_is_named_many_times_is_not_hashed(out, monkeypatch, place, value):
    """10 MB on the disk that stand for 10 GB."""
    monkeypatch.setattr(training_checkpoint, "checksum", lambda _content: pytest.fail("hashed"))

    def change(content):
        *outer, last = place
        for key in outer:
            content = content[key]
        content[last] = [value] * 1000 if last == "param_groups" else dict.fromkeys(range(1000), value)

    edited(out, change, forge=False)
    assert "is damaged" in refused(out)


def test_numbers_of_another_training_are_not_read(out, monkeypatch):
    """2 GB of numbers, which take nothing on the disk."""
    sides = (50_000, 10_000)
    stream = io.BytesIO()
    content = torch.load(out / CHECKPOINT, weights_only=True) | {"state": {"other": torch.zeros(9, 1)}}
    torch.save(content, stream, _use_new_zipfile_serialization=False)
    with (out / CHECKPOINT).open("wb") as file:
        file.write(stream.getvalue())
        file.truncate(4 * math.prod(sides))
    monkeypatch.setattr(stored_tensors, "read_place", lambda *_: pytest.fail("read"))
    assert "it is for other parameters" in refused(out)


def test_no_file_is_waited_for(out):
    (out / CHECKPOINT).unlink()
    assert "has no checkpoint to resume; run without --resume" in refused(out)
    os.mkfifo(out / CHECKPOINT)
    assert "is a pipe" in refused(out, UnusableFileError)


def test_a_checkpoint_of_another_training_is_refused(out):
    learning, optimizer = learner()
    with pytest.raises(UserError, match="belongs to another training: base changed; use another output folder"):
        restore_checkpoint(out, IDENTITY | {"base": "c"}, STEPS, learning, optimizer)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(out, monkeypatch):
    before = (out / CHECKPOINT).read_bytes()

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"checkpoint\.pt: No space left on device"):
        save_checkpoint(out, IDENTITY, 4, *learner(1.0))
    assert (out / CHECKPOINT).read_bytes() == before
    assert read_checkpoint(out, IDENTITY, STEPS, *learner()).step == 3


def test_a_damaged_checkpoint_leaves_the_folder_as_it_is(prepared, tmp_path):
    train_and_save(prepared("out", changes={"training": {"epochs": 1}}), Steps())
    out = tmp_path / "out"
    path = out / CHECKPOINT
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="damaged"):
        train_and_save(prepared("out", changes={"training": {"epochs": 1}}, resume=True), Steps())
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_true_cause_of_a_failed_write_is_named(out, monkeypatch):
    """torch says "unexpected pos" where a disk is full."""
    learning = {"matrix": torch.nn.Parameter(torch.zeros(1000, 1000)), "bias": torch.nn.Parameter(torch.ones(3))}
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(Path, "open", lambda _path, _mode: full)
    with pytest.raises(StorageError) as error:
        save_checkpoint(out, IDENTITY, 4, learning, learner()[1])
    monkeypatch.undo()
    assert str(error.value) == f"cannot write {out / CHECKPOINT}: No space left on device"
    assert read_checkpoint(out, IDENTITY, STEPS, *learner()).step == 3
