"""What both served pages refuse, and texts of others that they show as texts."""

import io
import urllib.error
import urllib.request
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from agg_pipeline import load_model
from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.found_photographs import found_pixels
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.storage.rle import encode
from agg_pipeline.storage.store import Store
from agg_pipeline.web.access import Guard
from agg_pipeline.web.browsed_rows import BrowsedRows
from agg_pipeline.web.demo_app import DemoApp
from agg_pipeline.web.picture_sources import of_dataset, of_folder
from agg_pipeline.web.view_app import SHOWN, Browsed, ViewApp
from schemas.crop import crop_mask
from schemas.errors import UserError
from tests.database.changed_rows import changed
from tests.toy_run import ENVIRONMENT, MODEL, make_config, make_database, make_dataset, run_shards, write_database
from tests.web.browser import served, until

TOKEN = "a-long-secret"
HTML = "<img src=x onerror=\"document.body.dataset.bad='yes'\">"
VIEW = ("/", "/look.css", "/static/view.js", "/api/facts", "/api/0/image?id=im_0", "/api/0/photograph?id=im_0")
DEMO = ("/", "/look.css", "/static/demo.js", "/api/facts", "/api/images/x/pixels")
POSTS = {
    "view": ("/api/0/images", "/api/0/place?id=im_0"),
    "demo": ("/api/images", "/api/images/x/masks", "/api/images/x/truth", "/api/images/x/export"),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals") / "database"
    make_database(folder)
    return open_proposals(str(folder))


@pytest.fixture(scope="module")
def apps(database):
    source = of_dataset(open_dataset("demo", "", "1"))
    return {
        "view": view_app(database),
        "demo": DemoApp(load_model(device="cpu"), source, "a model").app(),
    }


def view_app(database, roots=()):
    return ViewApp([Browsed("one", database, BrowsedRows(database), roots)]).app()


def client(app, token=None):
    return TestClient(Guard(app, 8400, token), "http://localhost:8400", follow_redirects=False)


def requests_of(name):
    return [("GET", path) for path in {"view": VIEW, "demo": DEMO}[name]] + [("POST", path) for path in POSTS[name]]


@pytest.mark.parametrize("name", ["view", "demo"])
def test_no_request_is_answered_without_the_token(apps, name):
    page = client(apps[name], TOKEN)
    for method, path in requests_of(name):
        assert page.request(method, path, content=b"{}").status_code == 401, path
    assert page.delete("/api/images/x").status_code == 401
    assert page.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("name", ["view", "demo"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_no_request_of_another_page_is_answered(apps, name, token):
    page = client(apps[name], token)
    headers = {"origin": "http://evil.example", "authorization": f"Bearer {TOKEN}"}
    for method, path in requests_of(name):
        assert page.request(method, path, content=b"{}", headers=headers).status_code == 403, path


def test_the_commands_serve_behind_the_guard(database):
    with served("view", database.store.url, "--token", TOKEN) as address:
        base = address.partition("?")[0]
        for headers, code in (({}, 401), ({"Origin": "http://evil.example"}, 403)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(urllib.request.Request(f"{base}api/facts", headers=headers))
            assert caught.value.code == code


def large():
    """A small file of 100 million pixels."""
    content = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("content", [b"", b"no image", large()])
def test_a_ground_truth_that_is_none_is_refused(apps, content):
    with client(apps["demo"]) as page:
        image = page.post("/api/images?name=demo_000000").json()
        answer = page.post(f"/api/images/{image['key']}/truth", content=content)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


def test_a_large_image_of_a_folder_is_refused(tmp_path):
    (tmp_path / "large.png").write_bytes(large())
    with pytest.raises(UserError, match="up to 50,000,000 pixels"):
        of_folder(tmp_path).open("large.png")


def test_large_images_of_a_database_are_shown_smaller(database, tmp_path):
    size = {"height": 10_000, "width": 10_000}
    frame = np.zeros((10_000, 10_000), np.bool_)
    frame[2000:4000, 1000:3000] = True
    rle, box = encode(crop_mask(frame, 10_000, 10_000)), {"x": 1000, "y": 2000, "w": 2000, "h": 2000}
    store = tmp_path / "large"
    changed(database, str(store) + "-images", "images", lambda row: row | size)
    changed(
        open_proposals(str(store) + "-images"),
        str(store),
        "proposals",
        lambda row: row | size | {"rle": rle, "bbox": box, "area": 4_000_000},
    )
    database = open_proposals(str(store))
    page = client(view_app(database))
    row = database.of_image("im_0").to_pylist()[0]
    photograph = Image.open(io.BytesIO(page.get("/api/0/photograph?id=im_0").content))
    assert photograph.size == (SHOWN, SHOWN)
    mask = page.get("/api/0/mask", params={"id": "im_0", "mask": row["proposal_id"]})
    shown = np.asarray(Image.open(io.BytesIO(mask.content)))
    assert shown.shape == (SHOWN, SHOWN)
    assert cv2.boundingRect(shown) == (160, 320, 320, 320)
    assert max(Image.open(io.BytesIO(page.get("/api/0/tile?id=im_0").content)).size) <= 320


def test_paths_out_of_the_data_set_are_not_followed(tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "secret.png")
    roots = [("", str(tmp_path / "data"))]
    for path in ("../secret.png", str(tmp_path / "secret.png"), "a/../../secret.png", "..\\secret.png"):
        assert found_pixels("folder", path, "", (3, 4), roots) is None
    Image.new("RGB", (4, 3)).save(tmp_path / "data/own.png")
    assert found_pixels("folder", "own.png", "", (3, 4), roots) is not None


def test_a_database_with_such_a_path_is_answered_in_one_line(database, tmp_path):
    changed(database, str(tmp_path / "paths"), "images", lambda row: row | {"path": "../../etc/passwd"})
    page = client(view_app(open_proposals(str(tmp_path / "paths")), [("", str(tmp_path))]))
    for path in ("photograph", "tile", "image"):
        answer = page.get(f"/api/0/{path}?id=im_0")
        assert answer.status_code == 400
        assert "no path in the data set" in answer.json()["error"]
        assert "\n" not in answer.json()["error"]


@pytest.fixture(scope="module")
def html_folder(tmp_path_factory):
    """A database whose texts are HTML."""
    toy = make_dataset()
    entries = tuple(replace(entry, image_id=f"{HTML}{entry.image_id}") for entry in toy.entries[:3])

    def read(entry):
        record = toy.read(entry)
        return replace(record, objects=tuple(replace(each, category=HTML) for each in record.objects))

    dataset = replace(toy, entries=entries, reader=read)
    store, config = Store(str(tmp_path_factory.mktemp("html") / "database")), make_config()
    write_database(store, make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config), run_shards(dataset, config))
    return store.url


def test_ids_and_classes_with_html_are_texts_in_the_view(window, html_folder):
    with served("view", str(html_folder)) as address:
        window.get(address)
        tiles = until(lambda: window.find_elements("css selector", ".tile"), "tiles")
        assert HTML in tiles[0].text
        assert any(
            HTML in each.get_attribute("textContent")
            for each in window.find_elements("css selector", "#category option")
        )
        tiles[0].click()
        shown = "return document.querySelector('.pane canvas')?.dataset.mask ?? ''"
        until(lambda: window.execute_script(shown), "a mask")
        assert HTML in window.find_element("css selector", "#image-name").text
        assert HTML in window.find_element("css selector", ".pane dl").text
        assert window.execute_script("return document.body.dataset.bad ?? ''") == ""
        assert window.find_elements("css selector", "img[src=x]") == []


def test_names_with_html_are_texts_in_the_demo(window, tmp_path):
    name = "<b onmouseover=x>.png"
    cv2.imwrite(str(tmp_path / name), np.full((40, 50, 3), 90, np.uint8))
    with served("demo", "--image", str(tmp_path), "--device", "cpu") as address:
        window.get(address)
        canvas = until(lambda: window.find_element("id", "canvas"), "the canvas")
        until(lambda: canvas.get_attribute("data-image") == name, "the photograph")
        assert window.find_element("css selector", "#images option").text == name
        assert window.find_elements("css selector", "b") == []
