"""The browser of databases in a real browser."""

import json
from urllib.parse import unquote

import pytest

from agg_pipeline.database.reader import open_proposals
from tests.e2e.commands import invoke
from tests.toy_run import make_database
from tests.web.browser import served, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view page") / "database"
    make_database(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with served("view", str(folder), str(folder)) as address:
        yield address


class Page:
    """The open page."""

    def __init__(self, window, address):
        from selenium.webdriver.common.by import By

        self.window, self._css = window, By.CSS_SELECTOR
        window.get_log("browser")
        window.get("about:blank")
        window.get(address)
        until(lambda: self.one("body").get_attribute("data-ready"), "the page")

    def one(self, selector):
        return self.window.find_element(self._css, selector)

    def all(self, selector):
        return self.window.find_elements(self._css, selector)

    def total(self):
        return int(self.one("#grid").get_attribute("data-total"))

    def shown(self):
        """The mask that is shown in the first pane."""
        return until(lambda: self.one(".pane canvas").get_attribute("data-mask"), "a mask")

    def state(self):
        return json.loads(unquote(self.window.execute_script("return location.hash.slice(1)")))

    def keys(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.window).send_keys(*keys).perform()

    def problems(self):
        return [entry["message"] for entry in self.window.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def page(window, address):
    window.execute_script("try { localStorage.clear() } catch { }")
    return Page(window, address)


def test_the_grid_shows_the_images_and_filters_them(page, folder):
    database = open_proposals(str(folder))
    tiles = until(lambda: page.all(".tile"), "tiles")
    images = {row["image_id"] for row in database.proposals().to_pylist()}
    assert page.total() == len(tiles) == len(images)
    page.one("#kinds input[value=part]").click()
    parts = {row["image_id"] for row in database.proposals().to_pylist() if row["kind"] == "part"}
    until(lambda: page.total() == len(parts), "the images with parts")
    assert page.state()["wanted"] == {"kinds": ["part"]}
    page.one("#search").send_keys("im_1")
    until(lambda: page.total() == sum("im_1" in image for image in parts), "the found images")
    page.one("#clear").click()
    until(lambda: page.total() == len(images), "all images")
    assert page.problems() == []


def test_an_image_shows_its_masks_and_the_slider_runs_through_them(page, folder):
    from selenium.webdriver.common.keys import Keys

    database = open_proposals(str(folder))
    tile = until(lambda: page.all(".tile"), "tiles")[0]
    image = tile.get_attribute("data-image")
    tile.click()
    rows = sorted(
        database.of_image(image).to_pylist(), key=lambda row: (row["granularity"], row["area"], row["proposal_id"])
    )
    assert page.shown() == rows[-1]["proposal_id"]
    assert page.one(".missing").is_displayed()
    slider = page.one(".pane .slider")
    for row in reversed(rows[:-1]):
        slider.send_keys(Keys.ARROW_LEFT)
        until(lambda row=row: page.shown() == row["proposal_id"], "the next mask")
        assert int(page.one(".pane canvas").get_attribute("data-pixels")) == row["area"]
        facts = page.one(".pane dl").text
        assert f"{row['granularity']:.3f}" in facts
        assert row["proposal_id"] in facts
    assert len(page.all(".pane")) == 2
    assert page.problems() == []


def test_a_link_leads_to_the_same_view(page, window):
    until(lambda: page.all(".tile"), "tiles")[1].click()
    page.shown()
    page.keys("G", "G")
    until(lambda: page.state()["mask"] == page.shown(), "the mask in the address")
    link, mask = window.current_url, page.shown()
    again = Page(window, link)
    assert until(lambda: again.shown() == mask, "the same mask")
    window.back()


def test_keys_move_between_masks_and_images(page):
    from selenium.webdriver.common.keys import Keys

    tiles = until(lambda: page.all(".tile"), "tiles")
    names = [tile.get_attribute("data-image") for tile in tiles]
    tiles[0].click()
    first = page.shown()
    page.keys("G")
    until(lambda: page.shown() != first, "a finer mask")
    page.keys("g")
    until(lambda: page.shown() == first, "the mask before")
    page.keys(Keys.ARROW_RIGHT)
    until(lambda: page.one("#image-name").text == names[1], "the next image")
    page.keys(Keys.ARROW_LEFT)
    until(lambda: page.one("#image-name").text == names[0], "the image before")
    page.keys(Keys.ESCAPE)
    assert page.one("#browser").is_displayed()
    page.keys("/")
    assert page.window.switch_to.active_element == page.one("#search")


def test_clicks_are_shown_one_after_the_other(page, folder):
    database = open_proposals(str(folder))
    row = next(row for row in database.proposals().to_pylist() if row["clicks"] and len(row["clicks"]) > 1)
    until(lambda: page.all(".tile"), "tiles")
    page.window.execute_script(
        "location.hash = arguments[0]", json.dumps({"image": row["image_id"], "mask": row["proposal_id"]})
    )
    until(lambda: page.all(".pane"), "the image")
    until(lambda: page.shown() == row["proposal_id"], "the mask")
    count = len(row["clicks"])
    assert f"clicks {count} of {count}" in page.one(".pane .clicks").text
    page.keys("c")
    assert f"clicks 1 of {count}" in page.one(".pane .clicks").text
    page.keys("c")
    assert f"clicks 2 of {count}" in page.one(".pane .clicks").text


def test_flags_become_a_list_that_filter_leaves_out(page, folder, downloads, tmp_path):
    until(lambda: page.all(".tile"), "tiles")[0].click()
    first = page.shown()
    page.keys("f")
    page.keys("G")
    until(lambda: page.shown() != first, "another mask")
    second = page.shown()
    page.one(".pane .flag").click()
    assert page.one(".pane .flag").get_attribute("aria-pressed") == "true"
    assert page.one("#flags").text == "Export flags (2)"
    page.one("#flags").click()
    file = downloads / "flagged-masks.txt"
    until(file.exists, "the list")
    until(lambda: file.read_text().split() == sorted([first, second]), "its lines")
    result = invoke("database", "filter", folder, "--exclude", file, "--out", tmp_path / "kept")
    assert result.code in (0, None), result
    kept = open_proposals(str(tmp_path / "kept")).proposals()["proposal_id"].to_pylist()
    assert not {first, second} & set(kept)
    page.one(".pane .flag").click()
    assert page.one("#flags").text == "Export flags (1)"


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_a_telephone_and_everything_has_a_name(window, address, width):
    window.set_window_size(width, 900)
    try:
        page = Page(window, address)
        unnamed = (
            "return [...document.querySelectorAll('button, select, input, canvas')].filter(each => "
            "!(each.labels?.length || each.getAttribute('aria-label') || each.textContent.trim()))"
            ".map(each => each.outerHTML)"
        )
        assert window.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert window.execute_script(unnamed) == []
        until(lambda: page.all(".tile"), "tiles")[0].click()
        page.shown()
        assert window.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert window.execute_script(unnamed) == []
        assert page.problems() == []
    finally:
        window.set_window_size(1400, 900)
