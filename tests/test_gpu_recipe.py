"""The training on a GPU, in miniature on a CPU."""

import csv
import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model
from agg_pipeline.models.simpleclick import draw_disks
from recipes.xtiny224.gpu.card import SHARES, load
from recipes.xtiny224.gpu.clicks import correct, depth, disks, first_clicks
from recipes.xtiny224.gpu.draws import Draws
from recipes.xtiny224.gpu.forward import forward
from recipes.xtiny224.gpu.pack import Packing, most_similar, thumbnail
from recipes.xtiny224.gpu.samples import affine, make_samples, sampling_grid
from recipes.xtiny224.gpu.teacher import Teacher
from recipes.xtiny224.gpu.train import main
from schemas.crop import crop_mask
from schemas.errors import UserError
from schemas.records import ImageRecord, ObjectMask
from stages.finetune import corrective_clicks

CPU = torch.device("cpu")
IDS = (
    *(("sbd-mini", f"ecssd_{number:04}") for number in range(12)),
    *(("sbd-mini", f"penn_{number:04}") for number in range(2)),
    ("coco-mini", "1"),
    ("bsds-mini", "sa_1"),
    ("demo", "scene-0"),
)
"""Of the toy pack."""
VALIDATED = ("ecssd_0011", "1")
"""The twelfth of ecssd and the one of coco-mini are for validation; they have one mask, the others two."""
BOXES = np.s_[4:16, 3:11], np.s_[10:22, 18:30]


@pytest.fixture(autouse=True)
def own_draws():
    """The training draws from torch's global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack of noise with one or two boxes per image."""
    rng = np.random.default_rng(0)
    packing = Packing()
    for folder, image_id in IDS:
        masks = []
        for number, box in enumerate(BOXES[:1] if image_id in VALIDATED else BOXES, start=1):
            mask = np.zeros((24, 32), np.bool_)
            mask[box] = True
            masks.append(ObjectMask(number, None, crop_mask(mask, 24, 32)))
        pixels = rng.integers(0, 256, (24, 32, 3), np.uint8)
        packing.add(folder, ImageRecord(image_id, image_id, "", "", pixels, tuple(masks)), 78)
    folder = tmp_path_factory.mktemp("gpu") / "pack"
    packing.write(folder)
    return folder


def flat_errors(*boxes):
    """Target and probability, (1, 64, 64) and (1, 1, 64, 64), with a missing and a surplus box."""
    target, probability = torch.zeros(1, 64, 64, dtype=torch.bool), torch.zeros(1, 1, 64, 64)
    target[0][boxes[0]] = True
    probability[0, 0][boxes[1]] = 1.0
    return target, probability


def opencv_depth(mask):
    padded = np.pad(mask.numpy(), 1).astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]


def test_a_pack_comes_back(pack):
    card = load(pack, CPU)
    assert card.images.shape == (17, 3, 320, 320)
    assert card.owner.tolist() == sorted([*range(17), *(set(range(17)) - {11, 14})])
    first = card.unpack(card.packed[:1])[0, 0]
    # 24 x 32 pixels become 320 x 320.
    assert first[60:210, 35:105].all()
    assert first.sum() == pytest.approx(12 * 8 * (320 / 24) * (320 / 32), rel=0.02)
    both = card.unpack(card.packed[:2]).any(0)
    assert torch.equal(card.unpack(card.union[:1])[0], both)
    assert card.nested.tolist() == [folder == "bsds-mini" for folder, _ in IDS]
    assert not card.union[15].any()


def test_masks_are_drawn_by_the_shares(pack):
    card = load(pack, CPU)
    assert card.validation == {"sbd": [22], "coco": [27]}
    by_image = torch.bincount(card.owner, card.weights)
    expected = [SHARES["sbd"] / 11] * 11 + [0.0] + [SHARES["penn"] / 2] * 2 + [0.0, SHARES["bsds-mini"], SHARES["demo"]]
    assert by_image.tolist() == pytest.approx(expected)
    assert card.donors[:28].tolist() == card.weights[:28].tolist()
    assert not card.donors[28:].any()
    assert card.weights[:2].tolist() == pytest.approx([SHARES["sbd"] / 22] * 2)


def test_the_same_photograph_is_found_mirrored_and_smaller():
    rng = np.random.default_rng(1)
    photographs = [cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (160, 120)) for _ in range(3)]
    thumbnails = np.stack([thumbnail(each) for each in photographs])
    number, correlation = most_similar(cv2.resize(photographs[1][:, ::-1], (80, 60)), thumbnails)
    assert number == 1
    assert correlation > 0.99
    assert most_similar(rng.integers(0, 256, (120, 160, 3), np.uint8), thumbnails)[1] < 0.5


def test_samples_hold_clicks_where_they_belong(pack):
    samples = make_samples(load(pack, CPU), 12)
    assert samples.image.shape == (12, 3, 224, 224)
    assert 0 <= samples.image.min() < samples.image.max() <= 1
    positive, negative = (samples.points > 0).unbind(1)
    assert not (positive & ~samples.target).any()
    assert not (negative & samples.target).any()
    assert torch.equal(positive.any(2).any(1), samples.target.any(2).any(1))
    parted = samples.prompt[:, 0].any(2).any(1)
    assert 0 < parted.sum() < 12
    assert (samples.prompt[:, 0] >= samples.target.float())[parted].all()
    assert negative.any(2).any(1)[parted].all()
    assert ((samples.prompt[:, 0] > 0) & negative).any(2).any(1)[parted].all()


def test_an_empty_target_has_no_positive_click():
    target, others = torch.zeros(8, 32, 32, dtype=torch.bool), torch.zeros(8, 32, 32, dtype=torch.bool)
    others[:, 4:12, 4:12] = True
    prompt, points = first_clicks(target, others, Draws(8, CPU))
    assert not prompt.any()
    assert not points[:, 0].any()
    assert points[:, 1].any()
    assert not points[:, 1][others].any()


def test_disks_are_those_of_the_model():
    clicks = [(0, 0, True), (223, 100, True), (224 // 2, 3, False), (110, 6, False), (60, 61, True), (222, 222, False)]
    points = torch.zeros(1, 2, 224, 224, dtype=torch.float16)
    drawn = np.zeros((2, 224, 224), np.float32)
    for row, col, positive in clicks:
        points[0, 0 if positive else 1, row, col] = 1
    draw_disks(drawn, clicks)
    assert np.array_equal(disks(points)[0].numpy(), drawn)


def test_depth_of_boxes_is_their_distance_to_the_outside():
    boxes = torch.zeros(1, 2, 40, 50, dtype=torch.bool)
    boxes[0, 0, 5:30, 8:44] = True
    boxes[0, 1, 0:17, 0:50] = True
    for found, box in zip(depth(boxes)[0], boxes[0], strict=True):
        assert np.array_equal(found.numpy(), opencv_depth(box))
    assert depth(boxes, limit=3).max() == 4


@pytest.mark.parametrize("missing_is_larger", [True, False])
def test_a_correction_lies_deep_inside_the_larger_error(missing_is_larger):
    boxes = np.s_[2:30, 3:40], np.s_[45:60, 30:64]
    target, probability = flat_errors(*(boxes if missing_is_larger else boxes[::-1]))
    larger = torch.zeros(64, 64, dtype=torch.bool)
    larger[boxes[0]] = True
    inner = opencv_depth(larger)
    found = set()
    for _ in range(20):
        points = torch.zeros(1, 2, 64, 64, dtype=torch.float16)
        correct(probability, target, points)
        ((channel, row, col),) = points[0].nonzero().tolist()
        (own,) = corrective_clicks(probability[:, 0].numpy(), target.numpy().astype(np.int8), np.random.default_rng(0))
        assert (channel == 0) == own.positive == missing_is_larger
        assert inner[row, col] > inner.max() / 2
        found.add((row, col))
    assert len(found) > 10
    points = torch.zeros(1, 2, 64, 64, dtype=torch.float16)
    correct(probability, target, points, deepest=True)
    ((_, row, col),) = points[0].nonzero().tolist()
    assert inner[row, col] == inner.max()


def test_without_an_error_there_is_no_correction():
    target, probability = flat_errors(np.s_[5:20, 5:20], np.s_[5:20, 5:20])
    points = torch.zeros(1, 2, 64, 64, dtype=torch.float16)
    correct(probability, target, points)
    assert not points.any()


def test_a_grid_that_moves_nothing_gives_the_image_back():
    image = torch.rand(2, 3, 16, 16)
    one, zero = torch.ones(2), torch.zeros(2)
    kept = F.grid_sample(image, sampling_grid(affine(one, zero, zero, zero, one, zero), 16, 16), align_corners=False)
    assert torch.allclose(kept, image, atol=1e-5)
    moved = F.grid_sample(image, sampling_grid(affine(one, zero, one, zero, one, zero), 16, 16), align_corners=False)
    assert torch.allclose(moved[..., :-1], image[..., 1:], atol=1e-5)


def test_the_forward_is_that_of_the_model():
    model, _ = load_click_model(default_checkpoint())
    image, coords = torch.rand(2, 1, 3, 224, 224).unbind()
    with torch.inference_mode():
        logits, features = forward(model, image, coords)
        assert torch.equal(logits, model(image, coords))
    assert features.shape == (1, 14 * 14, model.arch.dim)


def test_a_missing_teacher_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match=r"the teacher needs package efficientnet_lite_pytorch: .* --no-teacher"):
        Teacher(160, CPU)


@pytest.mark.long
def test_two_steps_write_a_model_that_loads(pack, tmp_path, monkeypatch):
    # Depths of 112 pixels take most of the time on a CPU.
    monkeypatch.setattr("recipes.xtiny224.gpu.forward.LIMIT", 8)
    options = ["--no-teacher", "--device", "cpu", "--batch", "2", "--max-steps", "2", "--rate", "0.01"]
    done = CliRunner().invoke(main, ["--pack", str(pack), "--out", str(tmp_path), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    model, about = load_click_model(tmp_path / "model.safetensors")
    assert (about.architecture, about.input_size) == ("xtiny", 224)
    before = load_click_model(default_checkpoint())[0].state_dict()
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert "backbone.blocks.0.attn.qkv.weight" in changed
    assert all(value.isfinite().all() for value in model.state_dict().values())
    load_click_model(tmp_path / "ema.safetensors")
    with (tmp_path / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["step"], row["samples"], float(row["teacher_loss"])) == ("2", "4", 0.0)
    assert 0 < float(row["loss"]) < 10
    with (tmp_path / "validation.csv").open() as file:
        rows = [(row["weights"], row["set"], row["masks"]) for row in csv.DictReader(file)]
    assert rows == [(weights, name, "1") for weights in ("start", "last", "ema") for name in ("sbd", "coco")]
