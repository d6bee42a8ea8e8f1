"""The demo's answers, with the built-in model."""

import base64
import io
import json
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from starlette.testclient import TestClient

from agg_pipeline import load_model
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.web import picture_sources, visits
from agg_pipeline.web.access import Guard
from agg_pipeline.web.demo_app import REQUEST_BYTES, DemoApp
from agg_pipeline.web.picture_sources import of_dataset, of_folder
from schemas.errors import UserError


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def dataset():
    return open_dataset("demo", "", "3")


@pytest.fixture
def page(model, dataset):
    with TestClient(Guard(DemoApp(model, of_dataset(dataset), "a model").app(), 1, None), "http://localhost") as client:
        yield client


def opened(page, name="demo_000001"):
    return page.post(f"/api/images?name={name}").json()


def levels(mask):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(mask["png"]))))


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def ask(page, image, **request):
    return page.post(f"/api/images/{image['key']}/masks", content=json.dumps(request))


def first_object(dataset, number=1):
    record = dataset.read(dataset.entries[number])
    mask = record.objects[0].mask.full()
    row, col = np.argwhere(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) > 3)[0]
    return record, mask, [int(row), int(col), True]


def test_the_page_and_its_files_are_sent(page):
    answer = page.get("/")
    assert answer.status_code == 200
    weight = len(answer.content)
    for path in ("look.css", "static/demo.css", "static/demo.js", "static/stage.js", "static/overlay.js"):
        file = page.get(f"/{path}")
        assert file.status_code == 200
        weight += len(file.content)
    assert weight < 300 * 1024
    assert page.get("/static/../demo_app.py").status_code == 404
    assert page.get("/static/%2e%2e/demo_app.py").status_code == 404
    assert page.get("/api/facts").json() == {
        "model": "a model",
        "granularities": [number / 10 for number in range(1, 11)],
        "images": ["demo_000000", "demo_000001", "demo_000002"],
    }


def test_masks_are_those_of_predict(page, model, dataset):
    record, truth, click = first_object(dataset)
    image = opened(page)
    assert (image["height"], image["width"]) == record.pixels.shape[:2]
    answer = ask(page, image, clicks=[click], granularities=[1.0, 0.3]).json()
    session = model.open(record.pixels)
    for mask, granularity in zip(answer["masks"], (1.0, 0.3), strict=True):
        expected = session.predict([click], granularity)
        assert mask["granularity"] == granularity
        assert ((levels(mask) > 127) == (expected > 0.5)).mean() > 0.9999
        assert abs(levels(mask) / 255 - expected).max() < 0.01
        inside = levels(mask) > 127
        assert mask["area"] == inside.sum()
        assert mask["iou"] == pytest.approx((inside & truth).sum() / (inside | truth).sum())
    assert answer["milliseconds"] > 0
    pixels = np.asarray(Image.open(io.BytesIO(page.get(f"/api/images/{image['key']}/pixels").content)))
    assert abs(pixels.astype(int) - record.pixels).mean() < 3


def test_exports_are_those_of_predict(page, model, dataset):
    record, _, click = first_object(dataset)
    image = opened(page)
    masks = [{"clicks": [click], "granularity": 1.0, "label": "tree <b>"}, {"clicks": [click], "granularity": 0.2}]

    def export(kind):
        return page.post(f"/api/images/{image['key']}/export", content=json.dumps({"kind": kind, "masks": masks}))

    session = model.open(record.pixels)
    expected = [session.predict([click], granularity) > 0.5 for granularity in (1.0, 0.2)]
    mask = export("mask")
    assert mask.headers["content-type"] == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(mask.content))) == expected[0] * 255).all()

    cut_out = np.asarray(Image.open(io.BytesIO(export("cut-out").content)))
    rows, cols = np.nonzero(expected[0])
    place = slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1)
    assert (cut_out[..., 3] == expected[0][place] * 255).all()
    assert (cut_out[..., :3] == record.pixels[place]).all()

    coco = export("coco").json()
    assert coco["images"] == [{"id": 1, "file_name": "demo_000001", "height": image["height"], "width": image["width"]}]
    names = {each["id"]: each["name"] for each in coco["categories"]}
    for annotation, own, name, granularity in zip(
        coco["annotations"], expected, ("tree <b>", "object"), (1.0, 0.2), strict=True
    ):
        assert (coco_mask.decode(annotation["segmentation"]) == own).all()
        assert (names[annotation["category_id"]], annotation["granularity"]) == (name, granularity)
        assert annotation["clicks"] == [click]
        assert annotation["area"] == own.sum()


def test_large_photographs_are_exported_at_their_own_size(page):
    image = page.post("/api/images?called=a.png", content=png(np.full((1500, 2000, 3), 90, np.uint8))).json()
    assert (image["full_height"], image["full_width"]) == (1500, 2000)
    assert image["height"] * image["width"] <= 1_500_000
    wanted = {"kind": "mask", "masks": [{"clicks": [[3, 3, True]], "granularity": 0.5}]}
    mask = page.post(f"/api/images/{image['key']}/export", content=json.dumps(wanted))
    assert Image.open(io.BytesIO(mask.content)).size == (2000, 1500)
    cut_out = page.post(f"/api/images/{image['key']}/export", content=json.dumps({**wanted, "kind": "cut-out"}))
    assert max(Image.open(io.BytesIO(cut_out.content)).size) <= image["width"]
    wanted = {"kind": "coco", "masks": [{"clicks": [[500, 700, True]], "granularity": 0.5}]}
    coco = page.post(f"/api/images/{image['key']}/export", content=json.dumps(wanted)).json()
    # Pixel (708, 990) of 1500 x 2000 is the middle of pixel (500, 700) of 1060 x 1414.
    assert coco["annotations"][0]["clicks"] == [[708, 990, True]]


def test_an_exported_mask_of_a_large_photograph_is_taken_as_ground_truth(page, dataset):
    record, _, (row, col, _) = first_object(dataset)
    height, width = record.pixels.shape[:2]
    pixels = cv2.resize(record.pixels[..., ::-1], (4 * width, 4 * height))
    image = page.post("/api/images?called=a.png", content=png(pixels)).json()
    assert (image["full_height"], image["full_width"]) == (4 * height, 4 * width)
    scale = image["height"] / height
    click = [int((row + 0.5) * scale), int((col + 0.5) * scale), True]
    wanted = {"kind": "mask", "masks": [{"clicks": [click], "granularity": 1.0}]}
    mask = page.post(f"/api/images/{image['key']}/export", content=json.dumps(wanted)).content
    smaller = png(np.ones((image["height"], image["width"]), np.uint8))
    ious = []
    for truth in (mask, smaller):
        assert page.post(f"/api/images/{image['key']}/truth", content=truth).status_code == 204
        ious.append(ask(page, image, clicks=[click], granularities=[1.0]).json()["masks"][0]["iou"])
    assert ious[0] > 0.98
    assert ious[1] < 0.9
    wrong = page.post(f"/api/images/{image['key']}/truth", content=png(np.ones((9, 9), np.uint8)))
    assert f"the mask is 9x9, the image {4 * height}x{4 * width}" in wrong.json()["error"]


def test_a_mask_of_the_visitor_is_measured_against(page, dataset):
    _, _, click = first_object(dataset)
    image = opened(page)
    truth = np.zeros((image["height"], image["width"]), np.uint8)
    truth[10:50, 10:50] = 3
    assert page.post(f"/api/images/{image['key']}/truth", content=png(truth)).status_code == 204
    mask = ask(page, image, clicks=[click], granularities=[1.0]).json()["masks"][0]
    inside = levels(mask) > 127
    assert mask["iou"] == pytest.approx((inside & (truth > 0)).sum() / (inside | (truth > 0)).sum())
    wrong = page.post(f"/api/images/{image['key']}/truth", content=png(truth[1:]))
    assert wrong.status_code == 400
    assert "the mask is" in wrong.json()["error"]


def test_photographs_are_turned_as_their_exif_says(page):
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(content, "JPEG", exif=exif)
    image = page.post("/api/images?called=phone.jpg", content=content.getvalue()).json()
    assert (image["height"], image["width"], image["name"]) == (60, 40, "phone.jpg")


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"clicks": [], "granularities": [1.0]}, "clicks"),
        ({"clicks": [[0, 0, True]], "granularities": []}, "granularities"),
        ({"clicks": [[0, 0, True]], "granularities": [0.5] * 11}, "granularities"),
        ({"clicks": [[0, 0, True]], "granularities": [2]}, "granularity"),
        ({"clicks": [[-1, 0, True]], "granularities": [1]}, "outside"),
        ({"clicks": [[0, 0]], "granularities": [1]}, "clicks"),
        ({"clicks": [["0", 0, True]], "granularities": [1]}, "clicks"),
        ({"clicks": [[0, 0, True]] * 100_000, "granularities": [1]}, "too large"),
        ({}, "clicks"),
    ],
)
def test_requests_that_cannot_be_used_are_answered_in_one_line(page, request_, problem):
    answer = ask(page, opened(page), **request_)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert problem in error
    assert "\n" not in error


@pytest.mark.parametrize("content", [b"", b"not json", b"[" * 5000, b'{"clicks": [[NaN, 0, true]]}', b"\xff" * 9])
def test_bodies_that_are_no_json_are_answered(page, content):
    answer = page.post(f"/api/images/{opened(page)['key']}/masks", content=content)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def bomb():
    content = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no JPEG"),
        (b"<svg onload=alert(1)>", "no JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no JPEG"),
        (png(np.zeros((9, 9), np.uint8))[:60], "x.png"),
        (bomb(), "up to 50,000,000 pixels"),
    ],
)
def test_uploads_that_are_no_images_are_refused(page, content, problem):
    answer = page.post("/api/images?called=x.png", content=content)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]


def test_uploads_have_a_largest_size(page, monkeypatch):
    monkeypatch.setattr("agg_pipeline.web.demo_app.UPLOAD_BYTES", 1000)
    answer = page.post("/api/images?called=x.png", content=b"x" * 2000)
    assert (answer.status_code, "too large" in answer.json()["error"]) == (400, True)
    assert REQUEST_BYTES >= 1 << 20


def test_visitors_do_not_mix(page):
    one, other = opened(page), opened(page, "demo_000002")
    assert one["key"] != other["key"]
    first = ask(page, one, clicks=[[50, 50, True]], granularities=[1.0]).json()
    ask(page, other, clicks=[[150, 150, True]], granularities=[1.0])
    again = ask(page, one, clicks=[[50, 50, True]], granularities=[1.0]).json()
    assert first["masks"] == again["masks"]
    assert page.delete(f"/api/images/{one['key']}").status_code == 204
    gone = ask(page, one, clicks=[[50, 50, True]], granularities=[1.0])
    assert (gone.status_code, "open it again" in gone.json()["error"]) == (400, True)
    assert ask(page, other, clicks=[[150, 150, True]], granularities=[1.0]).status_code == 200


def test_names_of_images_are_texts(page):
    for name in ("../../etc/passwd", "demo_000009", "<script>", "a\0b", "\x1b[2J"):
        answer = page.post("/api/images", params={"name": name})
        assert answer.status_code == 400
        assert "\x1b" not in answer.json()["error"]
    image = page.post("/api/images", params={"called": "<script>\x1b"}, content=png(np.zeros((9, 9, 3), np.uint8)))
    assert "\x1b" not in image.json()["name"]


class Model:
    """A model whose predictions wait until they may go on, and that knows which of its sessions are kept."""

    has_granularity = False

    def __init__(self):
        self.go_on = threading.Event()
        self.asked = 0
        self.sessions = weakref.WeakSet()

    def open(self, pixels):
        session = Session(self, pixels.shape[:2])
        self.sessions.add(session)
        return session


class Session:
    def __init__(self, model, size):
        self._model, self._size = model, size

    def predict(self, _clicks, _granularity):
        self._model.asked += 1
        assert self._model.go_on.wait(20)
        return np.ones(self._size, np.float32)

    def predict_each(self, clicks, granularities):
        return [self.predict(clicks, each) for each in granularities]


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_clicks_and_other_exports_replace_no_export(dataset):
    model = Model()
    app = DemoApp(model, of_dataset(dataset), "a model").app()
    with TestClient(app, "http://localhost") as page, ThreadPoolExecutor(6) as threads:
        image = opened(page)
        clicks = [[1, 1, True]]

        def export(kind):
            wanted = json.dumps({"kind": kind, "masks": [{"clicks": clicks}]})
            return page.post(f"/api/images/{image['key']}/export", content=wanted).status_code

        def click(_number):
            return ask(page, image, clicks=clicks, granularities=[None]).status_code

        first = threads.submit(click, 0)
        until(lambda: model.asked)
        asked = []
        for work, what in ((export, "mask"), (export, "coco"), (click, 1), (click, 2)):
            asked.append(threads.submit(work, what))
            time.sleep(0.3)  # The requests come in this order.
        model.go_on.set()
        assert [each.result(20) for each in (first, *asked)] == [200, 200, 200, 409, 200]


def test_images_are_forgotten_though_nobody_asks(dataset, monkeypatch):
    model = Model()
    monkeypatch.setattr(visits, "KEPT_SECONDS", 0.05)
    monkeypatch.setattr(visits, "FORGETTING_SECONDS", 0.05)
    with TestClient(DemoApp(model, of_dataset(dataset), "a model").app(), "http://localhost") as page:
        assert "key" in opened(page)
        until(lambda: not model.sessions)


def test_a_folder_offers_its_photographs(tmp_path, monkeypatch):
    for name in ("b.PNG", "a.jpg", "no.txt"):
        (tmp_path / name).write_bytes(png(np.full((20, 30, 3), 7, np.uint8)))
    source = of_folder(tmp_path)
    assert source.names == ("a.jpg", "b.PNG")
    assert source.open("a.jpg").pixels.shape == (20, 30, 3)
    for name in ("no.txt", "../a.jpg", str(tmp_path / "a.jpg")):
        with pytest.raises(UserError, match="there is no image"):
            source.open(name)
    monkeypatch.setattr(picture_sources, "UPLOAD_BYTES", 10)
    with pytest.raises(UserError, match="no file of up to 10 bytes"):
        source.open("a.jpg")
    (tmp_path / "empty").mkdir()
    for folder, problem in ((tmp_path / "empty", "has no image"), (tmp_path / "none", "there is no folder")):
        with pytest.raises(UserError, match=problem):
            of_folder(folder)
