"""A preview makes what a run makes, and its page shows it in order."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from agg_pipeline.database.proposal_rows import tables
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.single_image import read_object_mask, read_photograph
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals.boxed_object import MOST_NEGATIVES, object_in_box
from agg_pipeline.proposals.pipeline import chain, shard_tables
from agg_pipeline.proposals.preview import DATASET, make_preview
from agg_pipeline.proposals.preview_page import Source, preview_page
from agg_pipeline.proposals.verdicts import Kept, verdict
from schemas.config import MaskConfig
from schemas.crop import Box, Crop, area, crop_mask, iou, threshold
from schemas.errors import UserError
from schemas.presets import PRESETS
from schemas.records import Prediction
from schemas.resolve import override, validated
from stages.mask_engine import first_step, random_click, simulate
from tests.toy_run import Halver

HEIGHT, WIDTH = 90, 120
NAME = "<b>photo.png"
MODEL = {"architecture": "toy", "input_size": 32}
CHANGES = {
    "paper": {"seed": 1},
    "parts": {"seed": 2, "loop": {"rounds": 2}},
    "released": {"seed": 3, "loop": {"rounds": 3, "min_mask_area": 900}},
    # Batches of two of the three loops.
    "batches": {"loop": {"rounds": 3}, "batch": {"batch_objects": 2}},
    # Something is dropped for each reason.
    "dropped": {"seed": 4, "masks": {"min_area": 2000, "min_area_share": 0.6, "max_proposal_iou": 0.5}},
    "no click": {"loop": {"min_distance": 0.4}},
}
RUNS = {name: validated(override(PRESETS.get(name, PRESETS["paper"]), changes)) for name, changes in CHANGES.items()}


class Toy(Halver):
    """As ``Halver``; without a prompt, it takes the whole image for one."""

    def _one(self, interaction):
        if interaction.prompt is None:
            interaction = replace(interaction, prompt=crop_mask(np.ones((HEIGHT, WIDTH), bool), HEIGHT, WIDTH))
        return super()._one(interaction)


class Nothing(Toy):
    """Finds nothing any more after two clicks."""

    def _one(self, interaction):
        found = super()._one(interaction)
        if len(interaction.clicks) < 2:
            return found
        return Prediction(Crop(HEIGHT, WIDTH, found.roi, np.zeros((HEIGHT, WIDTH), np.float32)), found.roi)


class Blot:
    """A disc around the positive click, with a square hole around each negative one."""

    def __init__(self):
        self.asked = []

    def predict(self, interactions):
        (state,) = interactions
        self.asked.append(state)
        height, width = state.image.shape[:2]
        rows, cols = np.ogrid[:height, :width]
        first, *others = state.clicks
        values = (np.hypot(rows - first.row, cols - first.col) < 30).astype(np.float32)
        for click in others:
            values[max(0, click.row - 5) : click.row + 6, max(0, click.col - 5) : click.col + 6] = 0
        box = Box(0, 0, height, width)
        return [Prediction(Crop(height, width, box, values), box)]


def frame():
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[5:80, 10:70] = 1
    values[30:40, 30:40] = 0
    return values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of one photograph and its mask, as a run takes it."""
    root = tmp_path_factory.mktemp("folder")
    for name, values in (
        ("images", np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)),
        ("masks", frame()),
    ):
        (root / name).mkdir()
        Image.fromarray(values).save(root / name / NAME)
    return root


@pytest.fixture(scope="module")
def photograph(folder):
    return read_photograph(str(folder / "images" / NAME))


@pytest.fixture(scope="module")
def drawn(folder, photograph):
    return read_object_mask(str(folder / "masks" / NAME), photograph)


def preview_of(photograph, drawn, config, model=None):
    return make_preview(photograph.record(drawn.mask), config, model or Toy())


def run_of(folder, config, model=None):
    """The tables of a run over the folder."""
    dataset = open_dataset("folder", str(folder), None)
    task = ShardTask(0, dataset.name, dataset.entries, dataset.read, config)
    return {
        name: table.to_pylist()
        for name, table in shard_tables(run_stages(chain(config).stages, task, model or Toy())).items()
    }


@pytest.mark.parametrize("name", RUNS)
def test_the_proposals_are_those_of_a_run(name, folder, photograph, drawn):
    config = RUNS[name]
    run, preview = run_of(folder, config), preview_of(photograph, drawn, config)
    estimates = [each.estimate for each in preview.measured]
    made = tables([preview.target.image], [preview.target], estimates, [])
    assert made["proposals"].to_pylist() == run["proposals"]
    assert len(run["proposals"]) > 1
    assert [each["sha256"] for each in run["images"]] == [photograph.sha256]
    # What is dropped is shown with the reason of the run.
    dropped = [("postprocess", step.number, step.reason) for each in preview.rounds for step in each.steps]
    dropped += [("complement", each.number, each.reason) for each in preview.complements]
    rejects = [(each["stage"], each["step"], each["reason"]) for each in run["rejects"]]
    assert sorted(each for each in dropped if each[2]) == sorted(each for each in rejects if each[2] != "no_click")
    ended = [each.ended for each in preview.rounds]
    assert ended.count("no_click") == [reason for _, _, reason in rejects].count("no_click")


def test_what_the_configurations_above_are_for(folder):
    reasons = {name: {each["reason"] for each in run_of(folder, config)["rejects"]} for name, config in RUNS.items()}
    assert {"small", "duplicate"} <= reasons["dropped"]
    assert "no_click" in reasons["no click"]


@pytest.mark.parametrize("name", RUNS)
def test_a_step_shows_the_prediction_that_made_its_mask(name, photograph, drawn):
    config = RUNS[name]
    preview = preview_of(photograph, drawn, config)
    draw = random_click(config.seed, DATASET, config.loop)
    kept = {each.number: each for each in preview.measured if each.estimate.query.kind == "part"}
    shown = []
    for number, each in enumerate(preview.rounds):
        # The same loop by itself, with all of its masks.
        every = replace(config.loop, keep="all")
        (alone,) = simulate([preview.target], [preview.pixels], [each.length], Toy(), every, draw, [number])
        assert len(each.steps) == len(alone.candidates) > 1
        for step, candidate in zip(each.steps, alone.candidates, strict=True):
            assert (step.number, step.clicks) == (candidate.step, candidate.clicks)
            assert (step.mask.full() == candidate.mask.full()).all()
            assert (threshold(step.probability, 0.5).full() == candidate.mask.full()).all()
        assert each.steps[0].number == first_step(number, config.loop)
        shown += [step for step in each.steps if step.cleaned is not None and step.reason is None]
        if config.loop.keep == "last":
            assert [step.cleaned is not None for step in each.steps] == [False] * (len(each.steps) - 1) + [True]
    assert [step.number for step in shown] == list(kept)
    for step in shown:
        assert (step.cleaned.full() == kept[step.number].estimate.query.part.mask.full()).all()


def test_the_complements_are_those_that_are_measured(photograph, drawn):
    preview = preview_of(photograph, drawn, RUNS["paper"])
    measured = {each.number: each.estimate for each in preview.measured if each.estimate.query.kind == "complement"}
    kept = {each.number: each.mask for each in preview.complements if each.reason is None}
    assert kept.keys() == measured.keys() != set()
    assert all((mask.full() == measured[number].mask.full()).all() for number, mask in kept.items())


def test_a_measured_mask_has_the_map_of_its_peaks(photograph, drawn):
    preview = preview_of(photograph, drawn, RUNS["parts"])
    for each in preview.measured:
        inside = each.probability.full()[each.estimate.mask.full()]
        assert float(inside.max() - inside.min()) == each.estimate.peak_proposal
    assert len({each.estimate.peak_proposal for each in preview.measured}) > 1


def test_a_loop_that_finds_nothing_ends(folder, photograph, drawn):
    config = RUNS["paper"]
    preview = preview_of(photograph, drawn, config, Nothing())
    (only,) = preview.rounds
    assert only.ended == "empty"
    assert [step.reason for step in only.steps] == ["equals_object", "empty"]
    assert len(run_of(folder, config, Nothing())["proposals"]) == 1 + len(preview.measured)
    page = preview_page(preview, Source(photograph, drawn, MODEL, "agg"))
    assert "The loop ends before: no pixel is left of the mask." in page
    assert "Dropped (empty): no pixel is left of the mask." in page


def test_a_mask_that_is_too_small_for_a_click_gets_none(photograph, drawn):
    config = validated(override(RUNS["released"], {"loop": {"min_mask_area": 10_000}}))
    preview = preview_of(photograph, drawn, config)
    assert {step.clicked for each in preview.rounds for step in each.steps[1:]} == {False}
    assert "fewer than 10000 pixels, so no click is drawn" in preview_page(
        preview, Source(photograph, drawn, MODEL, "agg")
    )


def test_an_object_that_a_run_leaves_out_is_an_error(photograph):
    mask = crop_mask(np.eye(HEIGHT, WIDTH, dtype=bool), HEIGHT, WIDTH)
    with pytest.raises(UserError, match="leaves the object out: the object fills too little of its bounding box"):
        make_preview(photograph.record(mask), PRESETS["released"], Toy())


# The object of a box.


def test_the_object_of_a_box_gets_negative_clicks_where_it_leaves_the_box(photograph):
    box, model = Box(20, 40, 40, 30), Blot()
    found = object_in_box(photograph.pixels, box, model)
    first, *others = found.clicks
    assert first == (40, 55, True)
    assert len(others) == MOST_NEGATIVES
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[box.slices] = True
    assert not any(click.positive or inside[click.row, click.col] for click in others)
    assert len(set(others)) == len(others)
    # The model zooms in on the box, and then follows what it has found.
    assert (model.asked[0].focus.full() == inside).all() and model.asked[0].prompt is None
    assert all(later.prompt is not None for later in model.asked[1:])
    last = model.asked[-1]
    (prediction,) = Blot().predict([last])
    assert (found.mask.full() == ((prediction.probability.full() > 0.5) & inside)).all()
    assert 0 < area(found.mask) < inside.sum()


def test_an_object_that_stays_in_its_box_needs_one_click(photograph):
    model = Blot()
    found = object_in_box(photograph.pixels, Box(5, 20, 80, 80), model)
    assert len(found.clicks) == len(model.asked) == 1
    assert area(found.mask) > 2000


# Files.


def test_a_photograph_and_its_mask_are_turned_as_their_exif_data_says(tmp_path):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    mask = np.rot90(stored[..., 0], -1)
    Image.fromarray(np.ascontiguousarray(mask)).save(tmp_path / "upright.png")
    Image.fromarray(stored[..., 0]).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(stored[..., 0]).save(tmp_path / "stored.png")
    photograph = read_photograph(str(tmp_path / "photo.png"))
    assert (photograph.pixels == np.rot90(stored, -1)).all()
    assert "turned as its EXIF data says" in photograph.notes[0]
    for name in ("upright.png", "turned.png"):
        found = read_object_mask(str(tmp_path / name), photograph)
        assert (found.mask.full() == (mask > 0)).all()
        assert found.notes == ()
    with pytest.raises(UserError, match=r"is 40x60, its image 60x40 .*height and width are swapped"):
        read_object_mask(str(tmp_path / "stored.png"), photograph)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("grey.png", frame()),
        ("white.png", frame() * np.uint8(255)),
        ("deep.png", frame().astype(np.uint16)),
        ("colour.png", np.stack([np.zeros_like(frame()), frame(), np.zeros_like(frame())], axis=2)),
        ("black-and-white.png", frame().astype(bool)),
    ],
)
def test_every_pixel_that_is_not_black_is_the_object(name, values, tmp_path, photograph):
    Image.fromarray(values).save(tmp_path / name)
    assert (read_object_mask(str(tmp_path / name), photograph).mask.full() == (frame() > 0)).all()


def test_a_mask_with_lossy_compression_is_told(tmp_path, photograph):
    Image.fromarray(frame() * np.uint8(255)).save(tmp_path / "mask.jpg")
    found = read_object_mask(str(tmp_path / "mask.jpg"), photograph)
    assert "lossy compression" in found.notes[0]


# What became of a mask.


def square(side):
    return crop_mask(np.ones((side, side), bool), HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("reason", "side", "said"),
    [
        (None, 20, "Kept."),
        ("empty", 0, "Dropped (empty): no pixel is left of the mask."),
        ("small", 3, "It has 9 pixels; at least 16 are needed."),
        ("equals_object", 40, "Its IoU with the object is 1.000, above 0.98."),
        ("duplicate", 20, "Its IoU with part 7 is 0.907, above 0.95."),
    ],
)
def test_a_verdict_has_the_numbers_that_decide(reason, side, said):
    earlier = [Kept("part 2", square(30)), Kept("part 7", square(21))]
    assert iou(square(20), square(21)) == pytest.approx(0.907, abs=5e-4)
    assert verdict(square(side), reason, square(40), earlier, MaskConfig()).endswith(said)


def test_a_complement_below_the_smallest_scale_is_told_as_such():
    config = PRESETS["released"].masks
    assert verdict(square(9), "small", square(40), [], config).endswith("Its scale rounds to less than 0.2.")


# The page.


class Page(HTMLParser):
    """Headings with their level, drawings, and all text of a page."""

    def __init__(self, html):
        super().__init__()
        self.headings, self.drawings, self.references, self.text = [], [], [], ""
        self.level = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in ("h1", "h2", "h3"):
            self.level = tag
            self.headings.append((tag, ""))
        if tag == "svg" and "aria-hidden" not in values:
            self.drawings.append(values)
        self.references += [values[name] for name in ("href", "src") if name in values]

    def handle_endtag(self, tag):
        if tag == self.level:
            self.level = None

    def handle_data(self, data):
        self.text += data
        if self.level:
            tag, text = self.headings[-1]
            self.headings[-1] = (tag, text + data)


@pytest.fixture(scope="module")
def paper(photograph, drawn):
    return preview_of(photograph, drawn, RUNS["paper"])


@pytest.fixture(scope="module")
def page(paper, photograph, drawn):
    return Page(preview_page(paper, Source(photograph, drawn, MODEL, "agg proposals run --data FOLDER")))


def test_the_page_goes_from_the_object_to_the_data_set(page, paper):
    (round_,) = paper.rounds
    steps = [f"Step {step.number}: a {'negative' if step.number else 'positive'} click" for step in round_.steps]
    assert page.headings == [
        ("h1", f"What AGG makes of an object of {NAME}"),
        ("h2", "1. The object"),
        ("h2", "2. The loop"),
        *(("h3", step) for step in steps),
        ("h2", "3. The complements"),
        ("h2", "4. Granularity"),
        ("h2", "5. All proposals, from fine to coarse"),
        ("h2", "6. The whole data set"),
    ]
    for said in ("asks for a part of the object", "where the prediction still is", "Kept.", "Dropped ("):
        assert said in page.text
    assert "agg proposals run --data FOLDER" in page.text


def test_every_drawing_has_a_name_and_nothing_comes_from_elsewhere(page):
    assert len(page.drawings) > 10
    assert all(each["role"] == "img" and each["aria-label"] for each in page.drawings)
    assert all(each.startswith(("data:", "#")) for each in page.references)


def test_the_last_drawings_are_all_proposals_from_fine_to_coarse(page, paper):
    values = sorted(each.estimate.granularity for each in paper.measured)
    labels = [each["aria-label"] for each in page.drawings[-len(values) :]]
    assert [label.partition("granularity ")[2] for label in labels] == [f"{value:.3f}" for value in values]
    assert len(set(values)) > 1


def test_the_numbers_of_a_granularity_are_shown_with_their_sum(page, paper):
    for each in paper.measured:
        found = each.estimate
        assert f"0.5 · {found.scale:.3f} + 0.5 · {found.semantic:.3f} → {found.granularity:.3f}" in page.text


def test_the_page_says_when_the_mask_is_a_prediction(photograph, drawn, paper):
    boxed = object_in_box(photograph.pixels, Box(20, 40, 40, 30), Blot())
    shown = Page(preview_page(paper, Source(photograph, boxed, MODEL, "agg"))).text
    given = Page(preview_page(paper, Source(photograph, drawn, MODEL, "agg"))).text
    said = "The mask of the object is a prediction"
    assert said in shown and said not in given
    assert "5 negative clicks where its prediction left the box" in re.sub(r"\s+", " ", shown)
    assert f"The mask of the object is {NAME}." in given


def test_a_flat_map_is_told_in_words(photograph, drawn):
    config = validated(override(RUNS["paper"], {"granularity": {"min_object_peak": 1.0}}))
    preview = preview_of(photograph, drawn, config)
    assert "flat on the object, so the scale" in preview_page(preview, Source(photograph, drawn, MODEL, "agg"))
