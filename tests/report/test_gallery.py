"""The gallery: what the page holds, in which order, and that nothing of it comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import agg_pipeline.report.gallery
from agg_pipeline.database.contents import DATABASE_LAYOUT, SAMPLING_FILE
from agg_pipeline.database.reader import ProposalDatabase, open_proposals
from agg_pipeline.database.sampling import sampling_table
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.shard_files import PLAN, publish
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.figures.svg import View, view_of, widened
from agg_pipeline.proposals import pipeline
from agg_pipeline.report.gallery import MAX_OBJECTS, write_gallery
from agg_pipeline.storage.store import Store
from schemas.config import BatchConfig, LoopConfig, MaskConfig, ProposalsConfig
from schemas.crop import Box, Crop, crop_mask
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, Interaction, ObjectMask, Prediction
from stages.draws import uniforms

HEIGHT, WIDTH = 90, 120
PAGES = Path(agg_pipeline.report.gallery.__file__).parent / "pages"
CATEGORY = "<b>x & 'y'"
CROWD = "image_2"
"""The image with more objects than the page shows."""
CONFIG = ProposalsConfig(
    loop=LoopConfig(min_negatives=2, max_negatives=3),
    masks=MaskConfig(min_area=4),
    batch=BatchConfig(images_per_shard=2),
)
Read = Callable[[ImageEntry], ImageRecord]


class SoftDisks:
    """A click model of numpy: likely near the positive clicks, unlikely near the negative ones."""

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        return [self._one(interaction) for interaction in interactions]

    def _one(self, interaction: Interaction) -> Prediction:
        height, width = interaction.image.shape[:2]
        rows, cols = np.mgrid[:height, :width]
        logit = np.full((height, width), -2.0)
        for click in interaction.clicks:
            squared = (rows - click.row) ** 2 + (cols - click.col) ** 2
            logit += (6.0 if click.positive else -9.0) * np.exp(
                -squared / (2.0 * (18.0 if click.positive else 5.0) ** 2)
            )
        box = Box(0, 0, height, width)
        return Prediction(Crop(height, width, box, (1 / (1 + np.exp(-logit))).astype(np.float32)), box)


def read(entry: ImageEntry) -> ImageRecord:
    pixels = np.random.default_rng(entry.annotation).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    if entry.image_id == CROWD:
        boxes = [(5, 5 + 14 * n, 20 + 3 * n, 12) for n in range(8)]
        masks = [(rows >= r) & (rows < r + h) & (cols >= c) & (cols < c + w) for r, c, h, w in boxes]
    else:
        masks = [(rows - 45) ** 2 / 30**2 + (cols - c) ** 2 / 22**2 <= 1 for c in (28, 86)]
    objects = [ObjectMask(n, CATEGORY, crop_mask(mask, HEIGHT, WIDTH)) for n, mask in enumerate(masks, 1)]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return ImageRecord(entry.image_id, entry.path, digest, "free <as> air", pixels, tuple(objects))


ENTRIES = tuple(ImageEntry(f"image_{n}", f"{n}.png", 0, n) for n in range(6))
ABOUT = About("toy", "Toy", ("object",), "CC0", "nobody", "nowhere", (), "")
DATASET = Dataset(ABOUT, "train", ENTRIES, "0", read)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> ProposalDatabase:
    """Shards 0 and 2 of three are finished: images 0, 1, 4, 5; shard 1 follows in ``crowded``."""
    store = Store(str(tmp_path_factory.mktemp("toy")))
    model = {"architecture": "disks", "input_size": 1, "sha256": "0"}
    plan = make_plan(DATABASE_LAYOUT, DATASET, model, {"device": "cpu", "torch": "none"}, CONFIG)
    store.write_json(PLAN, plan)
    for index in (0, 2):
        write_shard(store, index)
    return open_proposals(store.url)


def write_shard(store: Store, index: int) -> None:
    task = ShardTask(index, DATASET.name, ENTRIES[2 * index : 2 * index + 2], read, CONFIG)
    shard = run_stages(pipeline.chain(CONFIG).stages, task, SoftDisks())
    plan = store.read_json(PLAN)
    publish(store, pipeline.write_shard(shard, store, stamp_of(DATABASE_LAYOUT, plan)))


class Page(HTMLParser):
    """What the tests ask of a page: its elements, its references, its style and the text of every element."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.style = ""
        self.script = ""
        self.headings: list[str] = []
        self._in = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._in = tag

    def handle_endtag(self, _tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "style":
            self.style += data
        elif self._in == "script":
            self.script += data
        elif data.strip():
            self.text.append(data.strip())
            if self._in == "h2":
                self.headings.append(data.strip())

    def of(self, tag: str, of_class: str = "") -> list[dict[str, str]]:
        return [a for t, a in self.elements if t == tag and (not of_class or of_class in a.get("class", "").split())]

    @property
    def images(self) -> list[str]:
        """Ids of the images in their order: the headings of the articles."""
        return [text for text in self.headings if re.fullmatch(r"image_\d", text)]


def page_of(
    database: ProposalDatabase, folder: Path, images: int = 9, seed: int = 0, dataset: Dataset = DATASET
) -> Page:
    write_gallery(database, dataset, Store(str(folder)), "gallery.html", images, seed)
    return Page((folder / "gallery.html").read_text())


def test_every_proposal_has_its_figure_from_fine_to_coarse(database: ProposalDatabase, tmp_path: Path) -> None:
    page = page_of(database, tmp_path)
    rows = database.proposals().to_pylist()
    proposals = {row["proposal_id"]: row for row in rows if row["kind"] != "object"}
    drawn = [figure["id"] for figure in page.of("figure", "proposal")]
    assert len(proposals) > 20
    assert sorted(drawn) == sorted(proposals)
    assert len(page.of("figure", "object")) == len(rows) - len(proposals) == 8
    order = [(proposals[i]["image_id"], proposals[i]["parent_id"], proposals[i]["granularity"]) for i in drawn]
    for earlier, later in pairwise(order):
        if earlier[:2] == later[:2]:
            assert earlier[2] <= later[2]
    assert len(set(order)) > len({entry[:2] for entry in order})


def test_clicks_are_drawn_as_recorded(database: ProposalDatabase, tmp_path: Path) -> None:
    page = page_of(database, tmp_path)
    rows = [row for row in database.proposals().to_pylist() if row["kind"] != "object"]
    clicks = [click["positive"] for row in rows for click in row["clicks"]]
    legend = 1
    assert len(page.of("g", "positive")) == sum(clicks) + legend
    assert len(page.of("g", "negative")) == len(clicks) - sum(clicks) + legend
    assert len(page.of("g", "estimator")) == len(rows) + legend


def test_nothing_comes_from_elsewhere(database: ProposalDatabase, tmp_path: Path) -> None:
    page = page_of(database, tmp_path)
    embedded = 0
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not {"src", "srcset", "data", "poster", "action", "background"} & attributes.keys()
        assert "url(" not in attributes.get("style", "")
        reference = attributes.get("href")
        if reference is not None and reference.startswith("#"):
            assert reference[1:] in ids
        elif reference is not None:
            content = base64.b64decode(reference.removeprefix("data:image/webp;base64,"), validate=True)
            Image.open(io.BytesIO(content)).verify()
            embedded += 1
    assert "url(" not in page.style and "@import" not in page.style
    assert page.of("script") == [{}] and "import" not in page.script and "fetch" not in page.script
    assert embedded == 4 + 8  # each photograph and each object once


def test_text_is_escaped(database: ProposalDatabase, tmp_path: Path) -> None:
    def failing(entry: ImageEntry) -> ImageRecord:
        if entry.image_id == "image_0":
            raise ImageError("unreadable_image", "<script>alert(1)</script>")
        return read(entry)

    page = page_of(database, tmp_path, dataset=replace(DATASET, reader=failing))
    assert page.text.count(CATEGORY) == 6 + 1, "each object, and the list to choose from"
    assert page.script.strip() == (PAGES / "gallery.js").read_text().strip()
    assert len(page.of("script")) == 1 and not page.of("as")
    assert any("<script>alert(1)</script>" in text for text in page.text)
    assert sum("free <as> air" in text for text in page.text) == 4


def test_the_sample_is_seeded_and_stable(database: ProposalDatabase, tmp_path: Path) -> None:
    first = page_of(database, tmp_path / "a", 2, 1)
    again = page_of(database, tmp_path / "b", 2, 1)
    assert (tmp_path / "a/gallery.html").read_bytes() == (tmp_path / "b/gallery.html").read_bytes()
    assert len(first.images) == 2 and first.images == again.images == sorted(first.images)
    samples = {tuple(page_of(database, tmp_path, 2, seed).images) for seed in range(6)}
    assert len(samples) > 2
    assert set(first.images) < set(page_of(database, tmp_path, 3, 1).images)


def test_only_the_shards_of_the_sample_are_read(
    database: ProposalDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = database.images()["image_id"].to_pylist()
    draws = [uniforms(1, DATASET.name, image_id, 0, "gallery", 0, 1)[0] for image_id in ids]
    before = page_of(database, tmp_path / "before", 1, 1)
    assert before.images == [ids[int(np.argmin(draws))]]
    shard = ENTRIES.index(next(entry for entry in ENTRIES if entry.image_id == before.images[0])) // 2
    kinds = database.proposals(["kind", "bin"]).to_pydict()
    counts = Counter(zip(kinds["kind"], kinds["bin"], strict=True))
    database.store.write(SAMPLING_FILE, parquet_bytes(sampling_table(counts)))
    opened: list[str] = []
    original = Store.open
    monkeypatch.setattr(Store, "open", lambda self, path: opened.append(path) or original(self, path))
    page_of(database, tmp_path / "after", 1, 1)
    database.store.remove(SAMPLING_FILE)
    name = f"part-{shard:05d}.parquet"
    assert set(opened) == {SAMPLING_FILE, f"images/{name}", f"proposals/{name}"}
    assert (tmp_path / "after/gallery.html").read_bytes() == (tmp_path / "before/gallery.html").read_bytes()


@pytest.mark.parametrize(("asked", "shown"), [(0, 0), (3, 3), (50, 4)])
def test_number_of_images(database: ProposalDatabase, tmp_path: Path, asked: int, shown: int) -> None:
    assert write_gallery(database, DATASET, Store(str(tmp_path)), "deep/page.html", asked, 0) == shown
    assert len(Page((tmp_path / "deep/page.html").read_text()).of("article")) == shown


def test_what_cannot_be_drawn_becomes_a_line(database: ProposalDatabase, tmp_path: Path) -> None:
    def failing(entry: ImageEntry) -> ImageRecord:
        if entry.image_id == "image_1":
            raise ImageError("unreadable_image", "1.png does not exist")
        record = read(entry)
        return replace(record, sha256="other") if entry.image_id == "image_4" else record

    changed = replace(DATASET, reader=failing, entries=ENTRIES[:5])
    assert write_gallery(database, changed, Store(str(tmp_path)), "gallery.html", 9, 0) == 1
    page = Page((tmp_path / "gallery.html").read_text())
    problems = [text for text in page.text if text.startswith("This image cannot be shown")]
    assert page.images == ["image_0", "image_1", "image_4", "image_5"]
    assert len(problems) == 3
    assert "1.png does not exist" in problems[0]
    assert "changed" in problems[1]
    assert "does not list" in problems[2]
    assert all(figure["id"].startswith("image_0:") for figure in page.of("figure", "proposal"))


def test_small_objects_of_a_crowd_are_left_out(tmp_path: Path, database: ProposalDatabase) -> None:
    store = Store(str(tmp_path / "database"))
    store.write_json(PLAN, database.plan)
    write_shard(store, 1)
    crowded = open_proposals(store.url)
    page = page_of(crowded, tmp_path)
    shown = [figure["id"] for figure in page.of("figure", "object") if figure["id"].startswith(CROWD)]
    assert shown == [f"{CROWD}:{n}:object:0" for n in (8, 7, 6, 5, 4, 3)] and len(shown) == MAX_OBJECTS
    assert "2 smaller objects are left out (dashed)." in page.text
    assert len(page.of("path", "rest")) == 2


def test_an_empty_database_has_a_page(tmp_path: Path, database: ProposalDatabase) -> None:
    store = Store(str(tmp_path / "database"))
    store.write_json(PLAN, database.plan)
    assert write_gallery(open_proposals(store.url), DATASET, store, "gallery.html", 12, 0) == 0
    assert "0 of 0 images" in (tmp_path / "database/gallery.html").read_text()


def filled(path: str, view: View, grain: int = 8) -> NDArray[np.bool_]:
    """An SVG path of straight lines filled by the even-odd rule, sampled at the centres of the image's pixels."""
    polygons = [re.findall(r"[\d.]+", part) for part in path.split("Z") if part]
    points = [np.array(p, float).reshape(-1, 2) / view.scale * grain for p in polygons]
    canvas = np.zeros((view.box.height * grain, view.box.width * grain), np.uint8)
    cv2.fillPoly(canvas, [np.rint(p).astype(np.int32) for p in points], 1)
    return canvas[grain // 2 :: grain, grain // 2 :: grain].astype(bool)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.7])
def test_outline_gives_the_mask_again(scale: float) -> None:
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(rows - 40, cols - 70)
    mask = ((distance < 30) & (distance > 12)) | ((rows > 70) & (cols < 20))
    view = View(Box(4, 8, 84, 108), scale)
    again = filled(view.outline(crop_mask(mask, HEIGHT, WIDTH)), view)
    expected = mask[4:88, 8:116]
    assert (again & expected).sum() / (again | expected).sum() > (0.97 if scale >= 1 else 0.93)
    assert not again[36, 62]
    assert view.outline(crop_mask(np.zeros_like(mask), HEIGHT, WIDTH)) == ""


def test_positions_and_colours_of_a_view() -> None:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[20:50, 30:70] = (200, 60, 10)
    view = view_of(Box(20, 30, 30, 40), 60, 200)
    assert (view.scale, view.width, view.height) == (2.0, 80.0, 60.0)
    assert view.position(20, 30, 0.5) == (1.0, 1.0, True)
    assert view.position(49, 69, 0.5) == (79.0, 59.0, True)
    assert view.position(19, 80, 5.0) == (75.0, 5.0, False)
    content = base64.b64decode(view.photograph(pixels).partition(",")[2])
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert shown.shape == (30, 40, 3)
    assert np.abs(shown - (200, 60, 10)).max() < 12


def test_margins_stay_in_the_frame() -> None:
    assert widened(Box(40, 50, 20, 10), 0.1, HEIGHT, WIDTH) == Box(37, 47, 26, 16)
    assert widened(Box(0, 0, HEIGHT, WIDTH), 0.1, HEIGHT, WIDTH) == Box(0, 0, HEIGHT, WIDTH)
