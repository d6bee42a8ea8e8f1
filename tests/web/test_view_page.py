"""The browser of databases in a real browser."""

import json
from urllib.parse import quote, unquote

import pytest

from agg_pipeline.database.reader import open_proposals
from tests.e2e.commands import invoke
from tests.toy_run import make_database
from tests.web.browser import served, until
from tests.web.view_window import ViewWindow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view page") / "database"
    for name in ("database", "other"):
        make_database(folder.with_name(name))
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with served("view", str(folder), str(folder.with_name("other"))) as address:
        yield address


@pytest.fixture
def page(window, address):
    window.execute_script("try { localStorage.clear() } catch { }")
    return ViewWindow(window, address)


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
    again = ViewWindow(window, link)
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
    assert page.focused() == page.one("#search")


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


def exports(page):
    return [button.text for button in page.all("#flags button")]


def test_flags_become_a_list_that_filter_leaves_out(page, folder, downloads, tmp_path):
    until(lambda: page.all(".tile"), "tiles")[0].click()
    first = page.shown()
    assert "with all its masks" in page.one(".pane .with-object").text, "the coarsest mask is an object"
    page.keys("f")
    page.keys("G")
    until(lambda: page.shown() != first, "another mask")
    second = page.shown()
    kinds = {row["proposal_id"]: row["kind"] for row in open_proposals(str(folder)).proposals().to_pylist()}
    assert page.one(".pane .with-object").is_displayed() == (kinds[second] == "object")
    page.one(".pane .flag").click()
    assert page.one(".pane .flag").get_attribute("aria-pressed") == "true"
    ours, theirs = (f"{folder.parent.name}/{name}" for name in ("database", "other"))
    assert exports(page) == [f"Export flags of {ours} (2)", f"Export flags of {theirs} (0)"]
    page.all("#flags button")[0].click()
    file = downloads / f"flagged-masks-{ours.replace(' ', '-').replace('/', '-')}.txt"
    until(file.exists, "the list")
    until(lambda: file.read_text().split() == sorted([first, second]), "its lines")
    result = invoke("database", "filter", folder, "--exclude", file, "--out", tmp_path / "kept")
    assert result.code in (0, None), result
    kept = open_proposals(str(tmp_path / "kept")).proposals()["proposal_id"].to_pylist()
    assert not {first, second} & set(kept)
    page.one(".pane .flag").click()
    assert exports(page)[0] == f"Export flags of {ours} (1)"


def test_f_flags_in_the_pane_that_was_used_last(page, downloads):
    until(lambda: page.all(".tile"), "tiles")[0].click()
    page.shown()
    second = page.all(".pane")[1]
    second.find_element("css selector", "canvas").click()
    page.keys("f")
    assert [text[-3:] for text in exports(page)] == ["(0)", "(1)"]
    assert second.find_element("css selector", ".flag").get_attribute("aria-pressed") == "true"
    page.one("#next").click()
    until(lambda: page.state()["mask"] == page.shown(), "the next image")
    page.keys("f")
    assert [text[-3:] for text in exports(page)] == ["(0)", "(2)"]
    page.all("#flags button")[1].click()
    until(lambda: list(downloads.glob("flagged-masks-*-other.txt")), "the list of the second database")


def test_a_link_is_copied_by_hand_where_the_page_may_not(page, window):
    window.execute_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.one("#copy").click()
    assert "Ctrl-C" in page.one("#by-hand").text
    assert page.focused() == page.one("#link")
    assert window.execute_script("return getSelection().toString()") == window.current_url
    page.one("h1").click()
    until(lambda: not page.one("#by-hand").is_displayed(), "the end of copying")
    assert page.problems() == []


def test_the_two_sliders_of_granularity_do_not_pass_each_other(page, window):
    page.drag("#low", 0.6)
    page.drag("#high", 0.3)
    assert [page.one(name).get_attribute("value") for name in ("#low", "#high")] == ["0.6", "0.6"]
    assert page.one("#range").text == "0.60 to 0.60"
    assert page.state()["wanted"] == {"low": 0.6, "high": 0.6}
    low, high = page.one("#low"), page.one("#high")
    assert low.rect == high.rect, "both lie on one track"
    at = "const {left, top, width, height} = arguments[0].getBoundingClientRect();"
    at += "return document.elementFromPoint(left + 11 + arguments[1] * (width - 22), top + height / 2).id"
    page.drag("#high", 1)
    page.drag("#low", 0.2)
    assert [window.execute_script(at, low, value) for value in (0.2, 1)] == ["low", "high"]
    page.drag("#low", 1)
    assert window.execute_script(at, low, 1) == "low", "or neither could be moved away"


def test_the_grid_says_that_photographs_are_not_here(page):
    until(lambda: page.all(".tile"), "tiles")
    assert "drawn on grey" in page.one("#grey").text


def test_tiles_show_what_the_filter_finds(page):
    until(lambda: page.all(".tile"), "tiles")
    page.one("#kinds input[value=part]").click()
    until(
        lambda: all('"kinds":["part"]' in unquote(each.get_attribute("src")) for each in page.all(".tile img")),
        "tiles with parts alone",
    )


@pytest.mark.parametrize(
    ("link", "left_out"),
    [
        ({"database": -1}, "database"),
        ({"database": "x", "image": 3}, "database, image"),
        ({"wanted": None}, "wanted"),
        ({"wanted": {"categories": None, "search": "im"}}, "categories"),
        ({"wanted": {"low": "x", "search": "im"}}, "low"),
        ({"wanted": {"low": 0.7, "high": 0.2}}, "low, high"),
        ({"wanted": {"kinds": ["x"], "sort": "x", "source": 9, "smallest": -1}}, "kinds, sort, source, smallest"),
        ({"wanted": {"constructor": "x"}}, "unknown words"),
        ([], None),
        ("{", None),
        ("%", None),
    ],
)
def test_a_link_with_odd_content_leads_to_a_page(window, address, link, left_out):
    text = link if isinstance(link, str) else quote(json.dumps(link))
    page = ViewWindow(window, f"{address}#{text}")
    said = f"Part of this link cannot be used here and is left out: {left_out}." if left_out else "cannot be read"
    assert said in page.message()
    until(lambda: page.all(".tile"), "tiles")
    assert page.total() == 6
    assert page.problems() == []


def test_the_bin_is_a_granularity_in_tenths(page, folder):
    until(lambda: page.all(".tile"), "tiles")[0].click()
    mask = page.shown()
    row = next(row for row in open_proposals(str(folder)).proposals().to_pylist() if row["proposal_id"] == mask)
    facts = page.one(".pane dl").text.split("\n")
    assert facts[facts.index("In tenths") + 1] == f"{row['bin'] / 10:.1f}"
    assert "Bin" not in facts


def test_what_is_printed_names_the_database_and_the_filter(page, window):
    until(lambda: page.all(".tile"), "tiles")
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for name in ("#database", "#search", "#sort", "#kinds input", ".tile"):
            assert page.one(name).is_displayed(), name
        for name in ("#copy", "#double", "#clear"):
            assert not page.one(name).is_displayed(), name
        tops = [tile.rect["y"] for tile in page.all(".tile")]
        assert tops == sorted(tops)
        page.window.execute_script("document.querySelector('.tile').click()")
        page.shown()
        assert page.one("#database").is_displayed()
    finally:
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_a_telephone_and_everything_has_a_name(window, address, width):
    window.set_window_size(width, 900)
    try:
        page = ViewWindow(window, address)
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
