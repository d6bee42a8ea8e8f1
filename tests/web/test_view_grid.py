"""The browser of databases with more images than a page loads at once."""

import pytest

from benchmarks.synthetic_database import write_database
from tests.web.browser import served, until
from tests.web.view_window import ViewWindow

IMAGES = 150
"""Images of the database."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with more images than it loads at once."""
    folder = tmp_path_factory.mktemp("long") / "database"
    write_database(str(folder), 600, IMAGES)
    with served("view", str(folder)) as address:
        yield address


def test_next_and_previous_work_beyond_what_is_loaded(window, address):
    page = ViewWindow(window, f'{address}#{{"image":"im_{119:08d}"}}')
    page.shown()
    for place in (120, 121):
        page.one("#next").click()
        until(lambda place=place: page.one("#image-name").text == f"im_{place:08d}", "the next image")
    page.one("#back").click()
    until(lambda: page.focused().get_attribute("data-image") == f"im_{121:08d}", "the grid at the image")
    inside = "const {top, bottom} = arguments[0].getBoundingClientRect(), grid = document.getElementById('grid')"
    inside += ".getBoundingClientRect(); return top >= grid.top - 1 && bottom <= grid.bottom + 1"
    assert window.execute_script(inside, page.focused())
    window.back()
    until(lambda: page.one("#image-name").text == f"im_{121:08d}", "the image again")
    for place, enabled in ((0, (False, True)), (IMAGES - 1, (True, False)), (70, (True, True))):
        page = ViewWindow(window, f'{address}#{{"image":"im_{place:08d}"}}')
        assert (page.one("#previous").is_enabled(), page.one("#next").is_enabled()) == enabled, place
    page = ViewWindow(window, f'{address}#{{"image":"im_{70:08d}","wanted":{{"search":"09"}}}}')
    assert not page.one("#previous").is_enabled(), "the filter does not find the image"
    assert not page.one("#next").is_enabled()


def test_arrows_move_by_tiles_and_by_rows(window, address):
    from selenium.webdriver.common.keys import Keys

    page = ViewWindow(window, address)
    until(lambda: page.all(".tile"), "tiles")
    page.one("h1").click()
    tops = [tile.location["y"] for tile in page.all(".tile")]
    columns = tops.count(tops[0])
    assert columns > 1
    place = 0
    page.keys(Keys.ARROW_DOWN)
    for key, step in [(Keys.ARROW_RIGHT, 1)] + [(Keys.ARROW_DOWN, columns)] * 20 + [(Keys.ARROW_UP, -columns)]:
        place += step
        page.keys(key)
        until(lambda place=place: page.focused().get_attribute("data-image") == f"im_{place:08d}", "the next tile")
    page.keys(Keys.ARROW_LEFT)
    until(lambda: page.focused().get_attribute("data-image") == f"im_{place - 1:08d}", "the tile before")


def test_a_grid_that_is_taller_than_browsers_draw_ends_with_its_last_image(window, address):
    page = ViewWindow(window, address)
    pretend = """
        const asked = window.fetch;
        window.fetch = async (path, options) => {
          if (!String(path).endsWith("/images")) return asked(path, options);
          const { offset, limit } = JSON.parse(options.body);
          const named = (_, nth) => ({ id: `far_${offset + nth}`, height: 0, width: 0, masks: 1 });
          const images = Array.from({ length: limit }, named);
          return new Response(JSON.stringify({ total: 1000000, masks: 1000000, spread: Array(20).fill(0), images }));
        };"""
    window.execute_script(pretend)
    window.set_window_size(500, 900)
    try:
        if not page.one("#search").is_displayed():
            page.one("#more > summary").click()
        page.one("#search").send_keys("x")
        until(lambda: page.total() == 1_000_000, "a million images")
        assert window.execute_script("return document.getElementById('grid-inner').offsetHeight") <= 15_000_000
        window.execute_script("const grid = document.getElementById('grid'); grid.scrollTop = grid.scrollHeight")
        last = until(lambda: page.all("[data-image=far_999999]"), "the last image")[0]
        grid = page.one("#grid").rect
        assert 0 <= grid["y"] + grid["height"] - (last.rect["y"] + last.rect["height"]) <= 30
    finally:
        window.set_window_size(1400, 900)
