"""The SAM family: the library's own masks, clicks by hand, one encoding per image, and folders that cannot be used."""

import json
import socket
from unittest import mock

import numpy as np
import pytest
import torch

from agg_pipeline.models import sam_files
from agg_pipeline.models.other_models import make_model, named_model
from agg_pipeline.models.sam import SamModel, probabilities
from agg_pipeline.models.sam_files import IMAGENET, KINDS, Opened, open_sam
from schemas.crop import Box, Crop, crop_mask
from schemas.errors import UserError
from schemas.records import Click, Interaction
from tests.e2e.commands import invoke
from tests.models.sam_folders import SIDE, masks_by_hand, masks_of_library, new_network, sam_folder

transformers = pytest.importorskip("transformers", reason="needs the extra sam")
KINDS_HERE = [kind for kind in KINDS if kind != "sam2_video" and hasattr(transformers, KINDS[kind].model)]

CLICKS = Click(20, 70, True), Click(90, 30, False), Click(5, 140, True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of small random models and the networks in them, by kind."""
    return {kind: sam_folder(tmp_path_factory.mktemp(kind), kind) for kind in KINDS_HERE}


def picture(height=100, width=150, seed=0):
    """Coloured areas with noise."""
    rng = np.random.default_rng(seed)
    areas = np.kron(rng.integers(0, 255, (5, 6, 3)), np.ones((40, 40, 1)))[:height, :width]
    return np.clip(areas + rng.normal(0, 9, (height, width, 3)), 0, 255).astype(np.uint8)


def asked(image, *clicks, prompt=None):
    return Interaction(image, clicks, prompt=prompt, focus=None)


def toy(side=1024, best=1, prompt="none", kind="sam"):
    """A model around no network, for what goes into it."""
    network = mock.Mock()
    network.parameters.return_value = []
    network.config.prompt_encoder_config.image_size = side
    network.to.return_value = network
    return SamModel(Opened(network, KINDS[kind], kind, "", "", IMAGENET), best, prompt, "cpu")


@pytest.mark.parametrize("kind", KINDS_HERE)
@pytest.mark.parametrize("best", [1, 3])
@pytest.mark.parametrize("size", [(100, 150), (170, 90), (128, 128)])
def test_the_masks_are_those_of_the_library(folders, kind, best, size):
    folder, network = folders[kind]
    model = make_model(named_model(f"sam:{folder},best={best}"), "cpu")
    image = picture(*size)
    clicks = [click._replace(col=min(click.col, size[1] - 1)) for click in CLICKS]
    for count in (1, 2, 3):
        library = masks_of_library if KINDS[kind].padded else masks_by_hand
        expected = library(network, image, clicks[:count], several=best > 1)
        (found,) = model.predict([asked(image, *clicks[:count])])
        found = found if best > 1 else found[None]
        assert found.shape == expected.shape == (best, *size) and found.dtype == np.float32
        assert np.abs(found - 1 / (1 + np.exp(-expected))).max() < 1e-4
        # The sums of a pixel whose logit is 0 but for rounding may come out on either side.
        sure = np.abs(expected) > 1e-4
        assert np.array_equal(found[sure] > 0.5, expected[sure] > 0) and sure.mean() > 0.99
        assert expected.std() > 1e-3


def test_sam_2_is_read_from_folders_with_its_part_for_videos(folders, tmp_path):
    folder, _ = folders["sam2"]
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    image = picture()
    ours, theirs = (make_model(named_model(f"sam:{each}"), "cpu") for each in (tmp_path, folder))
    assert np.array_equal(ours.predict([asked(image, *CLICKS)]), theirs.predict([asked(image, *CLICKS)]))


def test_points_are_x_and_y_in_pixels_of_the_input():
    model = toy()
    image = np.zeros((480, 640, 3), np.uint8)  # 640 -> 1024, 480 -> 768: by 1.6
    last = Click(479, 639, False)
    assert model._points([Click(10, 20, True), last], image) == [(32, 16), pytest.approx((1022.4, 766.4))]
    upright = np.zeros((600, 333, 3), np.uint8)  # 333 * 1024 / 600 = 568.32 -> 568
    assert model._points([Click(300, 100, True)], upright) == [(100 * 568 / 333, 512.0)]
    stretched = toy(kind="sam2")
    assert stretched._points([Click(10, 20, True)], image) == [(20 * 1024 / 640, 10 * 1024 / 480)]


def test_clicks_reach_the_network_with_their_labels():
    model = toy(256)
    network = model._network
    network.get_image_embeddings.return_value = torch.zeros(1, 8, 16, 16)
    network.return_value.pred_masks = torch.zeros(2, 1, 1, 64, 64)
    image = np.zeros((128, 128, 3), np.uint8)
    clicks = Click(3, 5, True), Click(7, 9, False)
    model.predict([asked(image, *clicks), asked(image, *reversed(clicks))])
    (given,) = (call.kwargs for call in network.call_args_list)
    assert given["input_points"].tolist() == [[[[10, 6], [18, 14]]], [[[18, 14], [10, 6]]]]
    assert given["input_labels"].tolist() == [[[1, 0]], [[0, 1]]]
    assert given["input_masks"] is None and given["multimask_output"] is False
    assert given["image_embeddings"].shape == (2, 8, 16, 16)


def test_images_are_resized_normalised_and_padded():
    image = np.zeros((50, 100, 3), np.uint8)
    image[...] = 10, 100, 200
    values = toy(64).pixel_values(image)
    assert values.shape == (1, 3, 64, 64) and values.dtype == torch.float32
    for channel, (colour, mean, deviation) in enumerate(zip((10, 100, 200), *IMAGENET, strict=True)):
        assert values[0, channel, :32].numpy() == pytest.approx((colour / 255 - mean) / deviation, rel=1e-5)
        assert not values[0, channel, 32:].any()
    assert toy(64, kind="sam2").pixel_values(image)[0, :, 63, 63].all()


def test_an_image_is_encoded_once_for_all_clicks_and_objects(folders):
    model = make_model(named_model(f"sam:{folders['sam'][0]}"), "cpu")
    first, second = picture(seed=1), picture(seed=2)
    with mock.patch.object(model, "_encode", wraps=model._encode) as encode:
        for count in (1, 2, 3):
            model.predict([asked(first, *CLICKS[:count]), asked(first, *CLICKS[::-1][:count])])
            model.predict([asked(second, *CLICKS[:count])])
    assert encode.call_count == 2


def test_interactions_in_one_batch_are_those_alone(folders):
    model = make_model(named_model(f"sam:{folders['sam_hq'][0]},best=3"), "cpu")
    first, second = picture(seed=1), picture(60, 90, seed=2)
    batch = [
        asked(first, *CLICKS[:2]),
        asked(second, CLICKS[0]),
        asked(second, Click(3, 4, True)),
        asked(first, CLICKS[1]),
    ]
    for each, found in zip(batch, model.predict(batch), strict=True):
        (alone,) = model.predict([each])
        assert np.abs(found - alone).max() < 1e-5


def test_logits_above_0_are_above_the_threshold():
    found = probabilities(torch.tensor([-1e-9, 0.0, 1e-9, 1e-30, 3.0, -200.0]))
    assert (found > 0.5).tolist() == [False, False, True, True, True, False]
    assert found[4] == pytest.approx(1 / (1 + np.exp(-3))) and found.dtype == np.float32


def test_the_last_logits_are_a_prompt_if_asked(folders):
    folder, network = folders["sam"]
    plain, prompted = (make_model(named_model(f"sam:{folder},prompt={each}"), "cpu") for each in ("none", "logits"))
    image = picture()
    (first,) = plain.predict([asked(image, CLICKS[0])])
    assert np.array_equal(first, *prompted.predict([asked(image, CLICKS[0])]))
    last = Crop(100, 150, Box(0, 0, 100, 150), first)
    with_prompt = asked(image, *CLICKS[:2], prompt=last)
    assert np.array_equal(*plain.predict([asked(image, *CLICKS[:2])]), *plain.predict([with_prompt]))
    (found,) = prompted.predict([with_prompt])
    with torch.no_grad():
        expected = network(
            image_embeddings=network.get_image_embeddings(prompted.pixel_values(image)),
            input_points=torch.tensor([[prompted._points(CLICKS[:2], image)]]),
            input_labels=torch.tensor([[[1, 0]]]),
            input_masks=prompted._prompt(with_prompt),
            multimask_output=False,
        ).pred_masks[0]
    assert np.abs(found - probabilities(prompted._upscaled(expected[0], image))[0]).max() < 1e-4
    assert np.abs(found - plain.predict([with_prompt])[0]).max() > 1e-3


def test_a_prompt_has_the_logits_of_the_last_prediction():
    model = toy(SIDE, prompt="logits")
    image = picture(80, 120)  # seen as 85 x 128, which is 21 x 32 of the prompt's 32 x 32
    rows, cols = np.mgrid[:32, :32]
    low = torch.from_numpy(6 * np.cos(rows / 7) * np.sin(cols / 9)).float()[None]
    (last,) = probabilities(model._upscaled(low, image))
    made = model._prompt(asked(image, CLICKS[0], prompt=Crop(80, 120, Box(0, 0, 80, 120), last)))
    assert made.shape == (1, 1, 32, 32)
    assert (made[0, 0, :21] - low[0, :21]).abs().max() < 0.3
    assert (made[0, 0, 21:] == made.min()).all()


def test_masks_of_zeros_and_ones_are_prompts_too():
    mask = np.zeros((100, 100), bool)
    mask[:50] = True
    prompt = toy(64, prompt="logits")._prompt(asked(picture(100, 100), CLICKS[0], prompt=crop_mask(mask, 100, 100)))
    assert prompt.shape == (1, 1, 16, 16)
    assert prompt[0, 0, :6].numpy() == pytest.approx(16) and prompt[0, 0, 10:].numpy() == pytest.approx(-16)


def test_a_tiny_random_model_needs_no_folder():
    described = named_model("sam:tiny-random,best=3")
    assert described.facts.architecture == "sam-tiny-random" and described.facts.candidates == 3
    assert described == named_model("sam:tiny-random,best=3")
    state = torch.random.get_rng_state()
    (found,) = make_model(described, "cpu").predict([asked(picture(), CLICKS[0])])
    assert torch.equal(state, torch.random.get_rng_state())
    assert found.shape == (3, 100, 150) and (found > 0.5).any() and (found < 0.5).any()


def test_the_facts_of_a_folder(folders):
    import hashlib

    folder, network = folders["sam"]
    facts = named_model(f"sam:{folder}").facts
    assert facts.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert (facts.input_size, facts.candidates, facts.probabilities) == (SIDE, 1, True)
    assert facts.parameters == sum(each.numel() for each in network.parameters())


def test_nothing_is_asked_of_the_network_and_no_code_is_run(folders, tmp_path, monkeypatch):
    folder, _ = folders["sam"]
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    hostile = {"auto_map": {"AutoModel": "evil.Model"}, "_name_or_path": "facebook/sam-vit-base"}
    (tmp_path / "config.json").write_text(json.dumps(config | hostile))
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")

    def connect(*_args, **_kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    assert open_sam(str(tmp_path)).name == "sam"
    assert open_sam(str(tmp_path)).normal == IMAGENET


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sam", "write --model sam:FOLDER, or sam:tiny-random to try it"),
        (
            "sam:facebook/sam-vit-base",
            "there is no folder facebook/sam-vit-base .* hf download facebook/sam-vit-base config",
        ),
        ("sam:tiny-random,best=2", "best=2 is not possible; possible: 1, 3"),
        ("sam:tiny-random,prompt=mask", "prompt=mask is not possible; possible: none, logits"),
        ("sam:tiny-random,bset=3", "model sam has no argument bset; did you mean 'best'"),
    ],
)
def test_arguments_that_cannot_be_used(text, problem):
    with pytest.raises(UserError, match=problem):
        named_model(text)


def test_folders_that_cannot_be_used(folders, tmp_path):
    folder, _ = folders["sam"]

    def refused(problem):
        with pytest.raises(UserError, match=problem):
            named_model(f"sam:{tmp_path}")

    refused("holds no config.json: hf download")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused("holds no model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    refused("holds pickles, which can run code, and no model.safetensors: hf download")
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    refused("model_type bert is no SAM; possible: sam, sam_hq")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"vision_config": {"num_hidden_layers": 3, "hidden_size": 64}})
    )
    refused("cannot be opened by SamModel|lacks")
    (tmp_path / "config.json").write_text(json.dumps(config))
    named_model(f"sam:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused("cannot be opened by SamModel")
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [1, 2], "image_std": [1, 1, 1]}')
    refused("image_mean")
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [1, 2, 3], "image_std": [1, 0, 1]}')
    refused("image_std must be above 0")


def test_weights_that_are_missing_are_no_random_ones(tmp_path):
    from safetensors.torch import save_file

    network = new_network("sam")
    network.save_pretrained(tmp_path)
    left = {key: value.clone() for key, value in network.state_dict().items() if "iou_token" not in key}
    left.pop("prompt_encoder.shared_embedding.positional_embedding", None)
    save_file(left, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"model.safetensors lacks mask_decoder.iou_token.weight"):
        named_model(f"sam:{tmp_path}")


def test_a_missing_library_is_named():
    with mock.patch.dict("sys.modules", {"transformers": None}), pytest.raises(UserError, match=r"agg-pipeline\[sam\]"):
        named_model("sam:tiny-random")
    with (
        mock.patch.object(sam_files, "library", return_value=mock.Mock(spec=["__version__"], __version__="4.0")),
        pytest.raises(UserError, match=r"needs Sam2Model, which transformers 4.0 does not have"),
    ):
        sam_files._loaded(sam_files.Path("x"), KINDS["sam2"])


FEW = "--dataset", "demo", "--limit-images", "1", "--workers", "1"


def test_agg_refuses_masks_that_the_truth_has_to_choose(tmp_path):
    made = invoke("proposals", "run", *FEW, "--model", "sam:tiny-random,best=3", "--out", tmp_path / "runs")
    assert made.code == 2 and "gives 3 maps, of which the ground truth has to choose" in made.stderr
    assert not (tmp_path / "runs").exists()


def test_an_evaluation_says_that_the_truth_has_chosen(tmp_path):
    out = tmp_path / "eval"
    made = invoke(
        *("eval", "run", "--dataset", "demo", "--sample", "1", "--max-clicks", "3", "--workers", "1"),
        *("--model", "sam:tiny-random,best=3", "--out", out),
    )
    assert made.code == 0, made.stderr
    said = "after each click, the best of 3 masks was chosen by the ground truth"
    assert "no granularity, best of 3 masks" in made.stdout and said in made.stdout
    assert said in (out / "report.html").read_text()
    plan = json.loads((out / "summary.json").read_text())["plan"]
    assert plan["model"]["candidates"] == 3 and plan["model"]["architecture"] == "sam-tiny-random"
    assert plan["config"]["predictor"]["flip"] is False and plan["config"]["clicks"]["threshold"] == 0.5
