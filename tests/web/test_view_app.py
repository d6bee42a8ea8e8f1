"""The browser of databases: its answers, and that they are those of the database."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.web.access import Guard
from agg_pipeline.web.browsed_rows import BrowsedRows, Wanted
from agg_pipeline.web.view_app import Browsed, ViewApp
from tests.toy_run import make_database


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view") / "database"
    make_database(folder)
    return open_proposals(str(folder))


@pytest.fixture(scope="module")
def rows(database):
    return BrowsedRows(database)


@pytest.fixture
def page(database, rows):
    shown = [Browsed("<one>", database, rows, []), Browsed("two", database, rows, [])]
    with TestClient(Guard(ViewApp(shown).app(), 1, None), "http://localhost") as client:
        yield client


def masks(database):
    return database.proposals().to_pylist()


def wanted_images(page, **wanted):
    answer = page.post("/api/0/images", content=json.dumps(wanted))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_facts_count_what_is_there(page, database):
    facts = page.get("/api/facts").json()["databases"]
    assert [each["name"] for each in facts] == ["<one>", "two"]
    (first, _), all_rows = facts, masks(database)
    assert first["masks"] == len(all_rows)
    assert first["kinds"] == {kind: sum(row["kind"] == kind for row in all_rows) for kind in first["kinds"]}
    assert sum(first["kinds"].values()) == len(all_rows)
    reasons = database.rejects()["reason"].to_pylist()
    assert first["reasons"] == {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    assert len(first["runs"]) == len(first["sources"]) == 1


@pytest.mark.parametrize(
    ("wanted", "fulfilled"),
    [
        ({}, lambda _row: True),
        ({"kinds": ["part", "complement"]}, lambda row: row["kind"] in ("part", "complement")),
        ({"low": 0.3, "high": 0.6}, lambda row: 0.3 <= row["granularity"] <= 0.6),
        ({"smallest": 200, "largest": 600}, lambda row: 200 <= row["area"] <= 600),
        ({"categories": ["cat"]}, lambda row: row["category"] == "cat"),
        ({"search": "IM_1"}, lambda row: "im_1" in row["image_id"].lower()),
        ({"source": 0}, lambda _row: True),
        ({"source": 3}, lambda _row: False),
        (
            {"kinds": ["part"], "low": 0.5, "search": "_"},
            lambda row: row["kind"] == "part" and row["granularity"] >= 0.5,
        ),
    ],
)
def test_filters_find_the_images_of_the_rows(page, database, wanted, fulfilled):
    expected = {}
    for row in masks(database):
        if fulfilled(row):
            expected[row["image_id"]] = expected.get(row["image_id"], 0) + 1
    found = wanted_images(page, **wanted)
    assert {each["id"]: each["masks"] for each in found["images"]} == expected
    assert (found["total"], found["masks"]) == (len(expected), sum(expected.values()))
    order = [image for image in database.images()["image_id"].to_pylist() if image in expected]
    assert [each["id"] for each in found["images"]] == order


def test_the_spread_does_not_depend_on_the_chosen_granularity(page, database):
    values = np.array([row["granularity"] for row in masks(database)])
    expected = np.bincount(np.minimum(19, np.floor(values * 20)).astype(int), minlength=20).tolist()
    for wanted in ({}, {"low": 0.5}):
        assert wanted_images(page, **wanted)["spread"] == expected


def test_pages_and_orders(page):
    whole = [each["id"] for each in wanted_images(page)["images"]]
    parts = [
        each["id"]
        for offset in range(0, len(whole), 3)
        for each in wanted_images(page, offset=offset, limit=3)["images"]
    ]
    assert parts == whole
    assert [each["id"] for each in wanted_images(page, sort="id")["images"]] == sorted(whole)
    most = [each["masks"] for each in wanted_images(page, sort="most")["images"]]
    assert most == sorted(most, reverse=True)
    for order in ("fewest", "finest", "coarsest", "largest"):
        assert sorted(each["id"] for each in wanted_images(page, sort=order)["images"]) == sorted(whole)


def place_of(page, image, **wanted):
    answer = page.post("/api/0/place", params={"id": image}, content=json.dumps(wanted))
    assert answer.status_code == 200, answer.text
    return answer.json()["place"]


@pytest.mark.parametrize("sort", ["plan", "id", "most", "fewest", "finest", "coarsest", "largest"])
@pytest.mark.parametrize("wanted", [{}, {"kinds": ["part"]}, {"search": "im_1"}, {"reason": "no_objects"}])
def test_the_place_of_an_image_is_where_its_page_has_it(page, sort, wanted):
    everywhere = [each["id"] for each in wanted_images(page)["images"]]
    found = [each["id"] for each in wanted_images(page, sort=sort, **wanted)["images"]]
    for image in [*everywhere, "nothing", "' or 1=1 --"]:
        place = found.index(image) if image in found else None
        assert place_of(page, image, sort=sort, **wanted) == place


def test_a_thumbnail_has_the_outlines_of_wanted_masks_alone(page, database):
    image = database.images()["image_id"][0].as_py()

    def tile(**wanted):
        answer = page.get("/api/0/tile", params={"id": image, "wanted": json.dumps(wanted)})
        return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), int)

    def tinted(pixels):
        return int((np.ptp(pixels, axis=2) > 20).sum())

    everything, whole = tile(), tile(kinds=["object"])
    assert tinted(everything) > tinted(whole) > 0
    for none in ({"kinds": ["x"]}, {"smallest": 10**6}, {"source": 3}, {"categories": ["x"]}):
        assert tinted(tile(**none)) == 0
    assert tinted(tile(low=1.0)) == tinted(whole)
    assert page.get("/api/0/tile", params={"id": image, "wanted": "{"}).status_code == 400


def test_facts_say_whether_photographs_are_here(page, database, rows, monkeypatch):
    assert [each["has_photographs"] for each in page.get("/api/facts").json()["databases"]] == [False, False]
    assert rows.first_images() == database.images()["image_id"].to_pylist()[:1]
    monkeypatch.setattr(Browsed, "photograph", lambda _shown, image: np.zeros((image["height"], image["width"], 3)))
    assert page.get("/api/facts").json()["databases"][0]["has_photographs"] is True


def test_images_with_a_reject_are_found_even_if_nothing_is_left_of_them(page, database):
    rejects = database.rejects().to_pylist()
    assert rejects
    for reason in {reject["reason"] for reject in rejects}:
        found = wanted_images(page, reason=reason)
        assert {each["id"] for each in found["images"]} == {
            each["image_id"] for each in rejects if each["reason"] == reason
        }


def test_an_image_has_all_its_rows_from_fine_to_coarse(page, database):
    image = database.images()["image_id"][0].as_py()
    found = page.get("/api/0/image", params={"id": image}).json()
    own = [row for row in masks(database) if row["image_id"] == image]
    assert {row["proposal_id"] for row in found["masks"]} == {row["proposal_id"] for row in own}
    assert [row["granularity"] for row in found["masks"]] == sorted(row["granularity"] for row in own)
    assert "rle" not in found["masks"][0]
    assert found["has_photograph"] is False
    for row in own:
        answer = page.get("/api/0/mask", params={"id": image, "mask": row["proposal_id"]})
        assert (np.asarray(Image.open(io.BytesIO(answer.content))) == database.mask(row) * 255).all()
    for path in ("photograph", "tile"):
        picture = Image.open(io.BytesIO(page.get(f"/api/0/{path}", params={"id": image}).content))
        assert picture.size == (found["image"]["width"], found["image"]["height"])


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/api/0/image?id=nothing", "has no image"),
        ("/api/0/mask?id=im_0&mask=nothing", "no such mask"),
        ("/api/0/mask", "has no image"),
        ("/api/7/image?id=im_0", "no such database"),
        ("/api/0/tile?id=../../etc/passwd", "has no image"),
        ("/api/0/photograph?id=%1b%5b2J", "has no image"),
    ],
)
def test_requests_that_cannot_be_used_are_answered_in_one_line(page, path, problem):
    answer = page.get(path)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]
    assert "\x1b" not in answer.json()["error"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"kinds": ["x' or '1'='1"]},
        {"search": "%' or 1=1 --"},
        {"categories": ['"; drop table masks; --']},
        {"reason": "' union select 1"},
    ],
)
def test_texts_of_a_filter_are_no_sql(page, database, wanted):
    assert wanted_images(page, **wanted)["total"] == 0
    assert wanted_images(page)["masks"] == len(masks(database))


@pytest.mark.parametrize(
    "wanted",
    [
        {"low": -1},
        {"low": "0"},
        {"sort": "area"},
        {"limit": 10_000},
        {"offset": -1},
        {"smallest": 2**63},
        {"kinds": "part"},
    ],
)
def test_filters_have_ranges(page, wanted):
    assert page.post("/api/0/images", content=json.dumps(wanted)).status_code == 400


def test_defaults_want_everything():
    assert Wanted() == Wanted([], 0.0, 1.0, 0, 2**62, [], "", None, "", "plan", 0, 60)
