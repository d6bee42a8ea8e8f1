"""``load_model``: predictions for programs and notebooks."""

import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import agg_pipeline
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.inference.predictor import open_predictor
from agg_pipeline.inference.session import REGIONS_BYTES, STATES_BYTES
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.checkpoints import (
    default_checkpoint,
    load_adapter,
    load_click_model,
    save_adapter,
    save_click_model,
)
from agg_pipeline.models.file_metadata import Origin
from agg_pipeline.models.model_files import describe_model
from schemas.config import PredictorConfig
from schemas.errors import UserError
from stages.next_click import next_click

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    made = Adapter(160, 8)
    made.initialise(torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    save_adapter(path, made)
    return path


@pytest.fixture(scope="module")
def model(adapter):
    return agg_pipeline.load_model(adapter=adapter)


def test_probabilities_of_the_image(model):
    found = model.predict(IMAGE, [(30, 40, True)], granularity=0.4)
    assert (found.shape, found.dtype) == ((60, 90), np.float32)
    assert 0 <= found.min() < found.max() <= 1
    assert not np.array_equal(found, model.predict(IMAGE, [(30, 40, True)], granularity=0.9))
    again = model.predict(IMAGE, [(30, 40, True), (5, 5, False)], 0.4, previous_mask=found)
    assert not np.array_equal(found, again)
    assert np.array_equal(found, model.predict(IMAGE, [(30, 40, True)], granularity=0.4)), "it remembers nothing"


def test_a_buffer_that_is_filled_anew_is_another_image(model):
    buffer, mask = IMAGE.copy(), np.zeros((60, 90), np.float32)
    mask[10:40, 10:40] = 1
    clicks = [(30, 40, True)]
    first = model.predict(buffer, clicks, 0.4, previous_mask=mask)
    buffer[:], mask[:] = 255 - IMAGE, 1 - mask
    second = model.predict(buffer, clicks, 0.4, previous_mask=mask)
    assert not np.array_equal(first, second)
    assert np.array_equal(second, model.predict(255 - IMAGE, clicks, 0.4, previous_mask=mask.copy()))


def test_threads_do_not_disturb_each_other(model):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (60 + 20 * n, 90, 3), dtype=np.uint8) for n in range(3)]

    def ask(number):
        return model.predict(images[number % 3], [(30, 10 + 20 * (number % 3), True)], 0.5)

    alone = [ask(number) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, range(60)))
    assert [np.array_equal(mask, alone[number % 3]) for number, mask in enumerate(found)] == [True] * 60


def test_sessions_in_threads_do_not_disturb_each_other(model):
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (60, 90 + 20 * n, 3), dtype=np.uint8) for n in range(3)]
    clicks = [(30, 40, True), (5, 80, False), (50, 10, True), (20, 20, False)]

    def interact(number):
        session = model.open(images[number % 3])
        return [session.predict(clicks[: n + 1], 0.5) for n in range(len(clicks))]

    alone = [interact(number) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(interact, range(12)))
    for number, masks in enumerate(found):
        assert [np.array_equal(*pair) for pair in zip(masks, alone[number % 3], strict=True)] == [True] * 4


def test_a_call_leaves_nothing_behind(model):
    image = np.random.default_rng(3).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    mask = np.zeros(image.shape[:2], bool)
    model.predict(image, [(1, 1, True)])
    tracemalloc.start()
    try:
        for turn in range(10):
            mask[20 * turn : 20 * turn + 90, 30 * turn : 30 * turn + 90] = True
            model.predict(image, [(20 * turn, 30 * turn, True)], previous_mask=mask)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < image.nbytes


def test_what_a_session_keeps_has_a_limit(model):
    image = np.random.default_rng(4).integers(0, 256, (700, 1000, 3), dtype=np.uint8)
    session, clicks = model.open(image), []
    tracemalloc.start()
    try:
        for turn in range(20):
            clicks.append((30 * turn, 40 * turn, turn % 2 == 0))
            session.predict(clicks, 0.4)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < STATES_BYTES + REGIONS_BYTES + image.nbytes


@pytest.mark.parametrize("view", [np.s_[..., ::-1], np.s_[::2, ::3], np.s_[::-1]])
def test_views_and_read_only_arrays_are_images(model, view):
    image = np.random.default_rng(5).integers(0, 256, (60, 90, 3), dtype=np.uint8)[view]
    image.flags.writeable = False
    clicks = [(20, 10, True)]
    expected = model.predict(image.copy(), clicks)
    assert np.array_equal(model.predict(image, clicks), expected)
    assert np.array_equal(model.open(image).predict(clicks), expected)


def test_home_folder(adapter, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(default_checkpoint(), tmp_path / "base.safetensors")
    shutil.copy(adapter, tmp_path / "adapter.safetensors")
    assert agg_pipeline.load_model("~/base.safetensors", Path("~/adapter.safetensors")).has_granularity
    files, _ = describe_model("~/base.safetensors", "~/adapter.safetensors", None)
    assert files.checkpoint == str((tmp_path / "base.safetensors").resolve())
    assert files.adapter == str((tmp_path / "adapter.safetensors").resolve())
    open_predictor(files, PredictorConfig())
    network, _ = load_click_model("~/base.safetensors")
    save_click_model("~/written.safetensors", network)
    save_adapter("~/written-adapter.safetensors", Adapter(160, 8))
    assert load_adapter(tmp_path / "written-adapter.safetensors")[1].rank == 8
    assert (tmp_path / "written.safetensors").exists()
    with pytest.raises(UserError, match=r"^~nobody-of-that-name/base\.pth is in the home folder of an unknown user$"):
        agg_pipeline.load_model("~nobody-of-that-name/base.pth")


def test_numbers_of_an_array_are_numbers(model):
    expected = model.predict(IMAGE, [(30, 40, True), (5, 6, False)], 1.0)
    for kind in (np.uint8, np.int64, np.float32):
        clicks = np.array([(30, 40, 1), (5, 6, 0)], kind)
        assert np.array_equal(model.predict(IMAGE, clicks, kind(1)), expected)


def test_without_granularity_an_untrained_adapter_is_the_base(model):
    base = agg_pipeline.load_model(adapter="")
    assert not base.has_granularity
    clicks = [(30, 40, True)]
    assert np.array_equal(base.predict(IMAGE, clicks), model.predict(IMAGE, clicks))


def test_the_built_in_model_is_controlled_by_granularity():
    """Of a drawn person, the finest mask of a click is a small part of the coarsest."""
    dataset = open_dataset("demo", "", "val")
    model = agg_pipeline.load_model()
    assert model.has_granularity
    shares = []
    for entry in dataset.entries[:6]:
        record = dataset.read(entry)
        mask = record.objects[0].mask.full()
        click = next_click(np.zeros_like(mask), mask, None, ())
        fine, coarse = (model.predict(record.pixels, [click], number) > 0.5 for number in (0.1, 1.0))
        shares.append(fine.sum() / max(1, coarse.sum()))
    assert np.median(shares) < 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((IMAGE.astype(float), [(1, 1, True)]), "uint8"),
        ((IMAGE[..., 0], [(1, 1, True)]), r"\(H, W, 3\)"),
        ((IMAGE, []), "at least one click"),
        ((IMAGE, [(60, 1, True)]), "outside of the image"),
        ((IMAGE, [(1, 1, True)], 1.5), "must be a number in"),
        ((IMAGE, [(1, 1, True)], "0.5"), "must be a number in"),
        (([[1], [1, 2]], [(1, 1, True)]), "the image is no array"),
        ((IMAGE, [(1, 1, 2)]), "neither True nor False"),
        ((IMAGE, [(1, 1, True)], 0.5, np.zeros((90, 60), np.float32)), "previous mask"),
        ((IMAGE, [(1, 1, True)], 0.5, [[1], [1, 2]]), "no array"),
        ((IMAGE, [(1, 1, True)], 0.5, np.zeros((60, 90), complex)), "probabilities"),
        ((IMAGE, [(1, 1, True)], 0.5, np.full((60, 90), np.nan)), "probabilities"),
    ],
)
def test_bad_input(model, arguments, said):
    with pytest.raises(UserError, match=said):
        model.predict(*arguments)


def test_granularity_needs_a_table():
    with pytest.raises(UserError, match="no granularity table"):
        agg_pipeline.load_model(default_checkpoint()).predict(IMAGE, [(1, 1, True)], 0.5)


def test_adapter_on_another_base_names_both_files(tmp_path):
    network, info = load_click_model(default_checkpoint())
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, Adapter(160, 8), Origin(base_sha256="f" * 64))
    with pytest.raises(UserError, match=f"{'f' * 64}.*{info.sha256}"):
        agg_pipeline.load_model(adapter=path)
    save_adapter(path, Adapter(160, 8), Origin(base_sha256=info.sha256))
    assert agg_pipeline.load_model(adapter=path).has_granularity
    save_click_model(tmp_path / "other.safetensors", network, half=False)
    with pytest.raises(UserError, match="another model"):
        agg_pipeline.load_model(tmp_path / "other.safetensors", path)


@pytest.mark.golden
def test_recorded_logits(shared):
    data = np.load(shared / "golden" / "graco_forward.npz")
    checkpoints = shared / "checkpoints"
    model = agg_pipeline.load_model(checkpoints / "xtiny448.pth", checkpoints / "xtiny448_adapter_qv.pth")
    image = np.ascontiguousarray(data["input"].transpose(1, 2, 0))
    clicks = [(row, col, index < 2) for index, (row, col, _) in enumerate(data["points"].tolist()) if row >= 0]
    for granularity in (None, 0.1, 0.5, 1.0):
        found = model.predict(image, clicks, granularity)[::4, ::4]
        expected = 1 / (1 + np.exp(-data[f"logits_{'none' if granularity is None else granularity}"]))
        assert np.abs(found - expected.squeeze()).max() < 1e-5
