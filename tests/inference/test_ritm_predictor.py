"""RITM around its network: where it looks, what the network sees, and how the mirrored image is averaged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from agg_pipeline.inference.ritm_predictor import RitmPredictor, ritm_region
from agg_pipeline.inference.whole_images import WholeImagePredictor
from agg_pipeline.models.hrnet import Outputs
from agg_pipeline.models.other_models import ModelFacts, make_model, named_model
from agg_pipeline.models.ritm import VARIANTS
from schemas.crop import Box, Crop, crop_mask
from schemas.errors import UserError
from schemas.records import Click, Interaction
from stages.click_model import after_prediction
from tests.models.ritm_weights import made_up_network

FACTS = ModelFacts("ritm-tiny", parameters=5)
HEIGHT, WIDTH = 600, 800


class Recording(nn.Module):
    """A network that keeps what it sees; its logits are given by a function of image and coords."""

    def __init__(self, logits=lambda _image, coords: coords[:, 1:2] * 20 - 10):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.logits = logits
        self.seen = []

    def forward(self, image, coords):
        self.seen.append((image, coords))
        found = self.logits(image, coords)
        return Outputs(found, found)


def mask(top, left, height, width):
    values = np.zeros((HEIGHT, WIDTH), bool)
    values[top : top + height, left : left + width] = True
    return crop_mask(values, HEIGHT, WIDTH)


def interaction(*clicks, focus=None, roi=None, image=None, prompt=None):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image
    return Interaction(image, tuple(clicks), prompt=prompt, focus=focus, roi=roi)


POSITIVE, NEGATIVE = Click(220, 320, True), Click(10, 10, False)
OBJECT = mask(200, 300, 201, 301)


def test_whole_image_up_to_the_first_click():
    assert ritm_region(interaction(POSITIVE)) is None
    assert ritm_region(interaction(POSITIVE, focus=OBJECT)) is None
    assert ritm_region(interaction(POSITIVE, focus=OBJECT, roi=Box(0, 0, 300, 300))) is None


def test_whole_image_while_nothing_is_predicted():
    assert ritm_region(interaction(POSITIVE, NEGATIVE)) is None
    assert ritm_region(interaction(POSITIVE, NEGATIVE, focus=mask(0, 0, 0, 0), roi=Box(5, 5, 300, 300))) is None


def test_region_around_the_prediction_by_hand():
    # Rows 200..400, centre 300, 1.4 * 201 / 2 = 140.7; columns 300..600, centre 450, 1.4 * 301 / 2 = 210.7.
    found = ritm_region(interaction(POSITIVE, NEGATIVE, focus=OBJECT))
    assert (found.top, found.bottom, found.left, found.right) == (159, 441, 239, 661)
    # A positive click outside belongs to it: rows 100..400, centre 250, 1.4 * 301 / 2 = 210.7.
    found = ritm_region(interaction(Click(100, 450, True), NEGATIVE, focus=OBJECT))
    assert (found.top, found.bottom, found.left, found.right) == (39, 461, 239, 661)


def test_smallest_side_and_the_image_border():
    found = ritm_region(interaction(Click(30, 400, True), NEGATIVE, focus=mask(25, 395, 11, 11)))
    assert (found.top, found.bottom, found.left, found.right) == (0, 130, 300, 500)


def test_a_region_is_kept_while_it_overlaps_enough_and_holds_the_positive_clicks():
    fresh = Box(159, 239, 283, 423)
    near = Box(180, 260, 283, 423)
    # Rows share 262 of 304, columns 402 of 444: 0.78.
    assert ritm_region(interaction(POSITIVE, NEGATIVE, focus=OBJECT, roi=near)) == near
    # Rows share 183 of 383: 0.48.
    assert ritm_region(interaction(Click(390, 450, True), NEGATIVE, focus=OBJECT, roi=Box(259, 239, 283, 423))) == fresh
    # The click lies above the region.
    assert ritm_region(interaction(Click(170, 450, True), NEGATIVE, focus=OBJECT, roi=near)) != near
    # A region that was the whole image is kept as any other one.
    whole = Box(0, 0, HEIGHT, WIDTH)
    large = mask(50, 50, 450, 600)
    assert ritm_region(interaction(POSITIVE, NEGATIVE, focus=large, roi=whole)) == whole


def test_the_network_sees_the_whole_image_at_its_own_size():
    network = Recording()
    image = np.random.default_rng(0).integers(0, 256, (37, 211, 3), dtype=np.uint8)
    (found,) = RitmPredictor(network, FACTS, flip=False).predict([interaction(Click(20, 100, True), image=image)])
    ((seen, coords),) = network.seen
    assert torch.equal(seen[0], torch.from_numpy(image).permute(2, 0, 1).float() / 255)
    assert coords.shape == (1, 3, 37, 211) and not coords[0, 0].any() and not coords[0, 2].any()
    assert coords[0, 1].sum() == 81  # pixels of a disk of radius 5
    assert found.values.shape == (37, 211) and found.region is None
    assert np.array_equal(found.values > 0.5, coords[0, 1].numpy() > 0)


@pytest.mark.parametrize(("size", "rows"), [(400, 268), (600, 401)])
def test_a_region_keeps_its_shape_and_its_longer_side_has_the_size(size, rows):
    network = Recording(lambda _image, coords: coords[:, :1] * 20 - 10)
    prompt = Crop(HEIGHT, WIDTH, Box(200, 300, 201, 301), np.ones((201, 301), np.float32))
    state = interaction(POSITIVE, Click(360, 500, False), Click(10, 10, False), focus=OBJECT, prompt=prompt)
    (found,) = RitmPredictor(network, FACTS, size=size, flip=False).predict([state])
    ((seen, coords),) = network.seen
    # The region has 283 x 423 pixels.
    assert seen.shape == coords.shape == (1, 3, rows, size)
    row, col = rows * (220 - 159) / 283, size * (320 - 239) / 423
    distance = (torch.arange(rows)[:, None] - row) ** 2 + (torch.arange(size)[None] - col) ** 2
    assert torch.equal(coords[0, 1] > 0, distance <= 25)
    # The second negative click is left of and above the region.
    row, col = rows * (360 - 159) / 283, size * (500 - 239) / 423
    distance = (torch.arange(rows)[:, None] - row) ** 2 + (torch.arange(size)[None] - col) ** 2
    assert torch.equal(coords[0, 2] > 0, distance <= 25)
    assert found.region == Box(159, 239, 283, 423)
    # The prompt comes back where it was, and nothing outside of the region.
    assert np.mean((found.values > 0.5) != (prompt.full() > 0.5)) < 0.005
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[found.region.slices] = False
    assert not found.values[outside].any()


def test_logits_of_the_mirrored_image_are_averaged():
    ramp = torch.linspace(-3, 3, 211).expand(1, 1, 37, 211)
    network = Recording(lambda image, coords: ramp + 6 * coords[:, 1:2] + 2 * image[:, :1])
    image = np.zeros((37, 211, 3), np.uint8)
    image[:, 150:] = 255
    state = interaction(Click(20, 50, True), image=image)
    (plain,) = RitmPredictor(network, FACTS, flip=False).predict([state])
    (both,) = RitmPredictor(network, FACTS, flip=True).predict([state])
    (first, second) = network.seen[1:]
    assert torch.equal(second[0], first[0].flip(3)) and torch.equal(second[1], first[1].flip(3))
    # The ramp cancels itself; disk and image stay.
    disk = first[1][0, 1].numpy()
    expected = 1 / (1 + np.exp(-(6 * disk + 2 * (np.arange(211) >= 150))))
    assert np.allclose(both.values, expected, atol=1e-6)
    assert not np.allclose(plain.values, expected, atol=0.01)


def test_the_region_goes_from_one_prediction_to_the_next():
    blob = torch.zeros(1, 1, HEIGHT, WIDTH)
    blob[..., 200:401, 300:601] = 1
    replies = [blob, blob[..., 159:442, 239:662], None, blob]
    network = Recording()
    model = WholeImagePredictor(RitmPredictor(network, FACTS, size=423, flip=False), "ritm")
    state, clicks, regions = interaction(), (POSITIVE, NEGATIVE, Click(390, 450, True), Click(210, 560, True)), []
    for number, reply in enumerate(replies):
        network.logits = lambda image, _coords, reply=reply: (image[:, :1] * 0 if reply is None else reply) * 20 - 10
        state = replace(state, clicks=clicks[: number + 1])
        (found,) = model.predict([state])
        state = after_prediction(state, found)
        regions.append(found.roi)
    chosen = Box(159, 239, 283, 423)
    # The third prediction is empty: the network sees the whole image for the fourth, and the region stays known.
    assert regions == [None, chosen, chosen, chosen]
    assert [seen.shape[2:] for seen, _ in network.seen] == [
        (HEIGHT, WIDTH),
        (283, 423),
        (283, 423),
        (HEIGHT, WIDTH),
    ]
    assert found.probability.full()[300, 400] > 0.99


def test_the_same_bits_in_any_batch():
    model = RitmPredictor(made_up_network(), FACTS, size=64)
    images = [np.random.default_rng(n).integers(0, 256, (40 + n, 60, 3), dtype=np.uint8) for n in range(3)]
    states = [interaction(Click(20, 30, True), image=image) for image in images]
    together = model.predict(states)
    for state, found in zip(states, together, strict=True):
        (alone,) = model.predict([replace(state, image=state.image.copy())])
        assert np.array_equal(alone.values, found.values)
        assert found.values.min() > 0 and found.values.max() < 1 and found.values.std() > 0


def test_values_that_are_not_finite_are_refused():
    model = RitmPredictor(Recording(lambda _image, coords: coords[:, :1] + torch.inf), FACTS, name="m.pth")
    with pytest.raises(UserError, match=r"m\.pth gives values that are not finite"):
        model.predict([interaction(POSITIVE)])


def test_too_little_memory_of_a_gpu_is_one_line():
    def fail(_image, _coords):
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore")

    with pytest.raises(
        UserError, match=r"too little memory for m\.pth and an image of 600 x 800.*--device cpu"
    ) as found:
        RitmPredictor(Recording(fail), FACTS, name="m.pth").predict([interaction(POSITIVE)])
    assert "\n" not in str(found.value)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("ritm") / "m.pth"
    torch.save({"state_dict": made_up_network(VARIANTS["hrnet18s"]).state_dict(), "config": {}}, path)
    return path


def test_a_model_by_its_name(path):
    described = named_model(f"ritm:{path},size=64,flip=false")
    facts = described.facts
    assert (facts.architecture, facts.input_size, facts.probabilities) == ("ritm-hrnet18s", 64, True)
    assert facts.settings == {"size": 64, "flip": "false"} and len(facts.sha256) == 64
    assert facts.parameters == sum(each.numel() for each in made_up_network(VARIANTS["hrnet18s"]).parameters())
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    state = interaction(Click(20, 20, True), image=image)
    model = WholeImagePredictor(make_model(described, "cpu"), described.text)
    first = model.predict([state])[0].probability.full()
    assert first.shape == (48, 40)
    other = make_model(named_model(f"ritm:{path}"), "cpu")
    assert not np.array_equal(other.predict([state])[0].values, first)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "model ritm needs the path of its file: ritm:PATH"),
        (":size=64", "model ritm needs the path"),
        (":nowhere.pth", "nowhere.pth does not exist"),
        (":{path},size=1", "size=1 is not a number from 32 to 4096"),
        (":{path},flip=yes", "flip=yes is neither true nor false"),
        (":{path},siez=64", "did you mean 'size'"),
    ],
)
def test_arguments_that_cannot_be_used(path, arguments, problem):
    with pytest.raises(UserError, match=problem):
        named_model("ritm" + arguments.format(path=path))
