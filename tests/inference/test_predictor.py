"""The predictor around networks of a few lines, and against recorded values."""

import hashlib
import types
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from agg_pipeline.datasets.images import read_image
from agg_pipeline.inference import network_inputs
from agg_pipeline.inference import predictor as predictor_module
from agg_pipeline.inference.predictor import Predictor, open_predictor
from agg_pipeline.inference.resizing import resized
from agg_pipeline.models.checkpoints import default_adapter, default_checkpoint, load_adapter, load_click_model
from agg_pipeline.models.model_files import ModelFiles, describe_model
from agg_pipeline.models.simpleclick import attach_adapter
from agg_pipeline.storage.store import Store
from schemas.config import PredictorConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.errors import UserError
from schemas.records import Click, Interaction
from stages.click_model import after_prediction

SIDE = 32


class Network(nn.Module):
    """Logits from a function of (image, coords); remembers its inputs."""

    input_size = SIDE

    def __init__(self, logits):
        super().__init__()
        self.logits = logits
        self.inputs = []
        # It says where the network is.
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image, coords, bins=None):
        self.inputs.append(types.SimpleNamespace(image=image, coords=coords, bins=bins))
        return self.logits(image, coords)


def picture(height=SIDE, width=SIDE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


CLICKS = (Click(5, 5, True),)


def interaction(image, clicks=CLICKS, **more):
    return Interaction(image, tuple(clicks), **({"prompt": None, "focus": None} | more))


def predict(logits, interactions, **config):
    network = Network(logits)
    return Predictor(network, PredictorConfig(**config)).predict(interactions), network


def test_no_interaction_needs_no_forward():
    found, network = predict(None, [])
    assert found == []
    assert network.inputs == []


def test_input_of_the_network_is_image_prompt_and_disks():
    image = picture()
    values = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    prompt = Crop(SIDE, SIDE, Box(0, 0, SIDE, SIDE), values)
    clicks = [Click(6, 9, True), Click(20, 25, False)]
    _, network = predict(lambda image, _: image[:, :1], [interaction(image, clicks, prompt=prompt)])
    (given,) = network.inputs
    np.testing.assert_allclose(given.image[0].permute(1, 2, 0).numpy(), image / 255, atol=1e-6)
    np.testing.assert_allclose(given.coords[0, 0].numpy(), values, atol=1e-6)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    for channel, click in zip((1, 2), clicks, strict=True):
        disk = (rows - click.row) ** 2 + (cols - click.col) ** 2 <= 25
        np.testing.assert_array_equal(given.coords[0, channel].numpy(), disk)
    assert given.bins is None


def test_clicks_are_scaled_to_the_input():
    image = picture(200, 300)
    roi = Box(40, 60, 64, 128)
    clicks = [Click(50, 80, True)]
    _, network = predict(lambda image, _: image[:, :1], [interaction(image, clicks, roi=roi, focus=None)])
    # Without a focus the region is the whole image, which overlaps the given one too little to keep it.
    row, col = SIDE * 50 / 200, SIDE * 80 / 300
    rows, cols = np.mgrid[:SIDE, :SIDE]
    disk = (rows - row) ** 2 + (cols - col) ** 2 <= 25
    np.testing.assert_array_equal(network.inputs[0].coords[0, 1].numpy(), disk)


def test_probability_is_the_sigmoid_of_the_logits_where_nothing_is_resized():
    (prediction,), _ = predict(lambda image, _: 8 * image[:, :1] - 4, [interaction(picture())])
    expected = 1 / (1 + np.exp(4 - 8 * (picture()[..., 0] / 255)))
    np.testing.assert_allclose(prediction.probability.full(), expected, atol=1e-6)
    assert prediction.probability.values.dtype == np.float32
    assert prediction.roi == Box(0, 0, SIDE, SIDE)


def test_what_is_wanted_is_a_part_of_the_whole_map():
    image = picture(60, 90)
    wanted = Box(10, 20, 25, 40)
    (whole,), _ = predict(lambda image, _: 8 * image[:, :1] - 4, [interaction(image)])
    (part,), _ = predict(lambda image, _: 8 * image[:, :1] - 4, [interaction(image, wanted=wanted)])
    assert (part.roi, part.probability.box) == (whole.roi, wanted)
    np.testing.assert_array_equal(part.probability.values, whole.probability.window(wanted))


def test_resizing_there_and_back_has_aligned_corners():
    ramp = np.repeat(np.linspace(0, 255, 96).round().astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    (prediction,), network = predict(lambda image, _: image[:, :1], [interaction(ramp)])
    given = network.inputs[0].image[0, 0].numpy()
    np.testing.assert_allclose(given[0], np.linspace(0, 1, SIDE), atol=3e-3)
    back = 1 / (1 + np.exp(-np.linspace(0, 1, 96)))
    np.testing.assert_allclose(prediction.probability.full(), np.tile(back, (64, 1)), atol=3e-3)


def test_prediction_is_pasted_where_it_was_cut_out_and_is_0_elsewhere():
    image = picture(600, 700)
    frame = np.zeros((600, 700), bool)
    frame[280:300, 330:350] = True
    focus = crop_mask(frame, 600, 700)
    (prediction,), network = predict(
        lambda image, _: torch.full_like(image[:, :1], 2.0),
        [interaction(image, [Click(290, 340, True)], prompt=focus, focus=focus)],
    )
    # 20 pixels about 289.5 and 339.5 are widened to 200: 189.5 and 389.5 round to 190 and 390.
    assert prediction.roi == Box(190, 240, 201, 201)
    full = prediction.probability.full()
    assert full.shape == (600, 700)
    np.testing.assert_allclose(full[190:391, 240:441], 1 / (1 + np.exp(-2)), atol=1e-6)
    full[190:391, 240:441] = 0
    assert not full.any()
    # The click is at its place in the region: 100 rows and columns below the upper left corner.
    at = SIDE * 100 / 201
    rows, cols = np.mgrid[:SIDE, :SIDE]
    disk = (rows - at) ** 2 + (cols - at) ** 2 <= 25
    np.testing.assert_array_equal(network.inputs[0].coords[0, 1].numpy(), disk)
    assert network.inputs[0].coords[0, 0, SIDE // 2, SIDE // 2] == 1.0


def test_flip_averages_logits_and_not_probabilities():
    answers = iter([3.0, -1.0])
    (prediction,), network = predict(
        lambda image, _: torch.full_like(image[:, :1], next(answers)), [interaction(picture())], flip=True
    )
    np.testing.assert_allclose(prediction.probability.full(), 1 / (1 + np.exp(-1)), atol=1e-6)
    assert len(network.inputs) == 2


def test_flip_mirrors_image_prompt_and_clicks_and_the_answer_back():
    values = np.zeros((SIDE, SIDE), np.float32)
    values[:, :7] = 1
    prompt = Crop(SIDE, SIDE, Box(0, 0, SIDE, SIDE), values)
    clicks = [Click(6, 9, True), Click(20, 28, False)]
    (prediction,), network = predict(
        lambda image, coords: image[:, :1] + coords[:, 1:2], [interaction(picture(), clicks, prompt=prompt)], flip=True
    )
    plain, mirrored = network.inputs
    np.testing.assert_array_equal(mirrored.image.flip(3), plain.image)
    np.testing.assert_array_equal(mirrored.coords[:, :1].flip(3), plain.coords[:, :1])
    rows, cols = np.mgrid[:SIDE, :SIDE]
    disk = (rows - 6) ** 2 + (cols - (SIDE - 1 - 9)) ** 2 <= 25
    np.testing.assert_array_equal(mirrored.coords[0, 1].numpy(), disk)
    # With whole coordinates the mirrored disks are the plain ones, so the average is the plain answer.
    plain_logits = picture()[..., 0] / 255 + ((rows - 6) ** 2 + (cols - 9) ** 2 <= 25)
    np.testing.assert_allclose(prediction.probability.full(), 1 / (1 + np.exp(-plain_logits)), atol=1e-6)


@pytest.mark.parametrize("granularity", [None, 0.4])
def test_an_image_and_its_mirror_in_one_forward_give_the_same(granularity):
    batch = [interaction(picture(40, 50, seed), granularity=granularity) for seed in range(3)]
    found, inputs = [], []
    for one_forward in (False, True):
        network = Network(lambda image, coords: 3 * image[:, :1] * torch.arange(SIDE) / SIDE - coords[:, 1:2])
        predictor = Predictor(network, PredictorConfig(flip=True))
        predictor.one_forward = one_forward
        found.append(predictor.predict(batch))
        inputs.append(network.inputs)
        assert predictor.forwards == 6
    assert [len(each) for each in inputs] == [2, 1]
    for name in ("image", "coords"):
        together = torch.cat([getattr(each, name) for each in inputs[0]])
        np.testing.assert_array_equal(getattr(inputs[1][0], name), together)
    bins = inputs[1][0].bins
    assert (None if bins is None else bins.tolist()) == (None if granularity is None else [3] * 6)
    for alone, together in zip(*found, strict=True):
        np.testing.assert_allclose(together.probability.full(), alone.probability.full(), atol=1e-6)


def test_batch_over_different_images_is_what_each_gives_alone():
    sizes = [(32, 32), (300, 200), (90, 410)]
    interactions = []
    for number, (height, width) in enumerate(sizes):
        frame = np.zeros((height, width), bool)
        frame[height // 3 : height // 2, width // 3 : width // 2] = True
        mask = crop_mask(frame, height, width)
        clicks = [Click(height // 2, width // 2, number % 2 == 0)]
        interactions.append(interaction(picture(height, width, number), clicks, prompt=mask, focus=mask))

    def logits(image, coords):
        return image.sum(1, keepdim=True) + coords.sum(1, keepdim=True) - 2

    together, network = predict(logits, interactions, flip=True)
    assert len(network.inputs) == 2
    for one, expected in zip(interactions, together, strict=True):
        (alone,), _ = predict(logits, [one], flip=True)
        assert alone.roi == expected.roi
        np.testing.assert_array_equal(alone.probability.full(), expected.probability.full())
        assert expected.probability.full().shape == one.image.shape[:2]


def test_prompts_that_share_their_values_lie_where_their_boxes_say():
    image, values = picture(), np.ones((8, 8), bool)
    network = Network(lambda image, _: image[:, :1])
    predictor = Predictor(network, PredictorConfig())
    for box in (Box(0, 0, 8, 8), Box(20, 12, 8, 8)):
        prompt = Crop(SIDE, SIDE, box, values)
        predictor.predict([interaction(image, prompt=prompt)])
        np.testing.assert_array_equal(network.inputs[-1].coords[0, 0].numpy(), prompt.full())


def test_many_images_and_steps_give_what_a_fresh_predictor_gives():
    def logits(image, coords):
        return image.sum(1, keepdim=True) + coords.sum(1, keepdim=True) - 2

    predictor = Predictor(Network(logits), PredictorConfig())
    images = [picture(seed=seed) for seed in range(40)]
    for image in (*images, *images[::-1], *images):
        (found,) = predictor.predict([interaction(image)])
        (fresh,) = predict(logits, [interaction(image)])[0]
        np.testing.assert_array_equal(found.probability.full(), fresh.probability.full())


def test_regions_that_were_seen_are_not_resized_again(monkeypatch):
    resizes = []

    def counted(values, *size):
        resizes.append(values.shape)
        return resized(values, *size)

    monkeypatch.setattr(network_inputs, "resized", counted)
    image, other = picture(40, 50), picture(50, 40)
    mask = crop_mask(np.ones((40, 50), bool), 40, 50)
    predictor = Predictor(Network(lambda image, _: image[:, :1]), PredictorConfig())
    for _ in range(3):
        predictor.predict([interaction(image, prompt=mask), interaction(image), interaction(other)])
    # Three planes of two images, one mask.
    assert sorted(resizes) == sorted([(40, 50)] * 3 + [(50, 40)] * 3 + [(40, 50)])


def test_large_maps_are_held_small_and_have_the_same_values(monkeypatch):
    def logits(image, coords):
        return image.sum(1, keepdim=True) + coords.sum(1, keepdim=True) - 2

    first = crop_mask(np.ones((40, 50), bool), 40, 50)
    part = Box(3, 5, 20, 30)
    items = [interaction(picture(40, 50), prompt=first, focus=first), interaction(picture(40, 50), wanted=part)]
    held, _ = predict(logits, items)
    monkeypatch.setattr(predictor_module, "LARGE", 20 * 30 - 1)
    made, _ = predict(logits, items)
    for one, other in zip(held, made, strict=True):
        assert one.probability.box == other.probability.box
        np.testing.assert_array_equal(one.probability.full(), other.probability.full())
        assert one.probability.nbytes == 4 * one.probability.box.height * one.probability.box.width
        assert other.probability.nbytes == 4 * SIDE * SIDE
    # As the prompt and the focus of the next prediction, too.
    after = [
        [after_prediction(item, prediction) for item, prediction in zip(items, predictions, strict=True)]
        for predictions in (held, made)
    ]
    next_held, next_made = (predict(logits, own)[0] for own in after)
    for one, other in zip(next_held, next_made, strict=True):
        assert one.roi == other.roi
        np.testing.assert_array_equal(one.probability.full(), other.probability.full())


def test_regions_have_a_limit():
    images = [picture(40, 50, seed) for seed in range(5)]
    references = [weakref.ref(image) for image in images]
    each = 40 * 50 * 3 + 4 * 3 * SIDE * SIDE
    predictor = Predictor(Network(lambda image, _: image[:, :1]), PredictorConfig(), kept_bytes=2 * each)
    while images:
        predictor.predict([interaction(images.pop(0))])
    assert [reference() is not None for reference in references] == [False, False, False, True, True]


def test_granularities_become_bins():
    image = picture()
    items = [interaction(image, granularity=value) for value in (None, 0.1, 0.55, 1.0)]
    _, network = predict(lambda image, _: image[:, :1], items)
    assert network.inputs[0].bins.tolist() == [-1, 0, 5, 9]


def test_prompt_of_another_size_is_refused():
    prompt = crop_mask(np.ones((5, 5), bool), 5, 5)
    with pytest.raises(ValueError, match="5x5"):
        predict(lambda image, _: image[:, :1], [interaction(picture(), prompt=prompt)])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("flip", [False, True])
def test_values_that_are_not_finite_are_refused(value, flip):
    def logits(image, _coords):
        found = image[:, :1] - 0.5
        found[-1, 0, 3, 4] = value
        return found

    with pytest.raises(
        UserError, match=r"^the model gives values that are not finite, because some of its weights are"
    ):
        predict(logits, [interaction(picture()), interaction(picture())], flip=flip)


def test_the_files_of_a_model_whose_values_are_not_finite_are_named():
    files, _ = describe_model(default_checkpoint(), default_adapter(), None)
    predictor = open_predictor(files, PredictorConfig())
    with torch.no_grad():
        predictor.network.head.conv_seg.weight.fill_(3e38)
    with pytest.raises(UserError) as error:
        predictor.predict([interaction(picture())])
    assert str(error.value).startswith(f"{default_checkpoint()} with {default_adapter()} gives values that are not")


def test_large_finite_values_are_probabilities():
    values = torch.tensor([-90.0, 0.0, 90.0, -3e38, 3e38]).repeat(SIDE * SIDE)[: SIDE * SIDE].view(1, 1, SIDE, SIDE)
    (found,), _ = predict(lambda _image, _coords: values, [interaction(picture())])
    np.testing.assert_array_equal(found.probability.full(), torch.sigmoid(values)[0, 0].numpy())


def test_forwards_are_counted():
    network = Network(lambda image, _: image[:, :1])
    predictor = Predictor(network, PredictorConfig(flip=True))
    predictor.predict([interaction(picture())] * 3)
    assert predictor.forwards == 6
    assert predictor.forward_seconds > 0


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
FULL_FOR_CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


class SmallGpu(Network):
    """Stands for a network on a GPU that has memory for so many interactions at a time."""

    def __init__(self, room, error=FULL):
        super().__init__(lambda image, _: image[:, :1])
        self.room = room
        self.error = error
        self.batches = []

    def forward(self, image, coords, bins=None):
        if len(image) > self.room:
            raise self.error
        self.batches.append(len(image))
        return super().forward(image, coords, bins)


@pytest.mark.parametrize("error", [FULL, FULL_FOR_CUBLAS])
def test_a_batch_without_memory_for_it_is_split(error):
    images = [interaction(picture(seed=seed)) for seed in range(7)]
    network = SmallGpu(2, error)
    predictor = Predictor(network, PredictorConfig())
    found = predictor.predict(images)
    # 7, then 3, do not fit; 1 at a time does, and later calls know it.
    assert (network.batches, predictor.splits) == ([1] * 7, 2)
    expected = Predictor(SmallGpu(100), PredictorConfig()).predict(images)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.probability.full(), theirs.probability.full())
    predictor.predict(images[:2])
    assert (network.batches, predictor.splits) == ([1] * 9, 2)


def test_memory_is_given_back_when_nothing_holds_the_batch(monkeypatch):
    seen, free = [], []

    class Full(Network):
        def forward(self, image, coords, bins=None):
            seen.append(weakref.ref(image))
            if len(image) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(image, coords, bins)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free.append(seen[-1]() is None))
    pair = [interaction(picture(seed=seed)) for seed in range(2)]
    Predictor(Full(lambda image, _: image[:, :1]), PredictorConfig()).predict(pair)
    assert free == [True]


def test_other_errors_are_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Predictor(SmallGpu(0, RuntimeError("CUDA error: an illegal memory access")), PredictorConfig()).predict(
            [interaction(picture())] * 2
        )


def test_too_little_memory_for_one_interaction_is_one_line():
    with pytest.raises(UserError) as error:
        Predictor(SmallGpu(0), PredictorConfig()).predict([interaction(picture())] * 2)
    assert str(error.value) == (
        "the GPU has too little memory for the model; use fewer --workers-per-gpu, a smaller --input-size, or --device "
        "cpu (CUDA out of memory. Tried to allocate 2.00 GiB.)"
    )


def test_a_file_that_changed_is_refused():
    path, adapter = str(default_checkpoint()), str(default_adapter())
    sha256, sha256_of_adapter = (hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in (path, adapter))
    with pytest.raises(UserError, match=rf"{path} is another file here .*\(sha256 {sha256}\)"):
        open_predictor(ModelFiles(path, "0" * 64, 224), PredictorConfig())
    with pytest.raises(UserError, match=rf"{adapter} is another file here .*\(sha256 {sha256_of_adapter}\)"):
        open_predictor(ModelFiles(path, sha256, 224, adapter, "0" * 64), PredictorConfig())
    open_predictor(ModelFiles(path, sha256, 224, adapter, sha256_of_adapter), PredictorConfig())


def test_an_opened_predictor_has_its_lora_merged():
    files, _ = describe_model(default_checkpoint(), default_adapter(), None)
    merged = open_predictor(files, PredictorConfig())
    assert merged.network.adapter.rank == 0
    network, _ = load_click_model(default_checkpoint())
    adapter, info = load_adapter(default_adapter())
    assert info.rank > 0
    attach_adapter(network, adapter)
    state = interaction(picture(300, 200), [Click(150, 100, True)], granularity=0.4)
    ((found,), (expected,)) = (each.predict([state]) for each in (merged, Predictor(network, PredictorConfig())))
    np.testing.assert_array_equal(found.probability.full(), expected.probability.full())


@pytest.mark.golden
def test_recorded_predictions_of_three_images_as_one_batch(shared):
    recorded = np.load(shared / "golden" / "predictor.npz")
    names = sorted(name.removesuffix("_clicks") for name in recorded.files if name.endswith("_clicks"))
    assert len(names) == 3
    network, _ = load_click_model(shared / "checkpoints" / "xtiny448.pth")
    predictor = Predictor(network, PredictorConfig(flip=True))
    store = Store(str(shared / "data" / "grabcut-mini" / "data_GT"))
    paths = {path.rpartition(".")[0]: path for path in store.files()}
    states = [interaction(read_image(store, paths[name])[0], ()) for name in names]
    for step in range(4):
        for number, name in enumerate(names):
            row, col, positive = recorded[f"{name}_clicks"][step]
            clicks = (*states[number].clicks, Click(int(row), int(col), bool(positive)))
            states[number] = replace(states[number], clicks=clicks)
        for number, prediction in enumerate(predictor.predict(states)):
            expected = recorded[f"{names[number]}_probs"][step].astype(np.float32)
            assert np.abs(prediction.probability.full() - expected).max() < 2e-3
            state = {"prompt": prediction.probability, "focus": prediction.probability, "roi": prediction.roi}
            states[number] = replace(states[number], **state)
    # The zoom was in use.
    assert any(state.roi.height < state.image.shape[0] for state in states)
