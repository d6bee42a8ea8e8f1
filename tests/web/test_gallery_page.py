"""The gallery in a real browser: one image at a time, filters, links to a proposal, and paper."""

import pytest

from agg_pipeline.report.gallery import write_gallery
from agg_pipeline.storage.store import Store
from tests.report.test_gallery import DATASET, database  # noqa: F401  # a fixture
from tests.web.browser import until


@pytest.fixture(scope="module")
def address(database, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("gallery")
    assert write_gallery(database, DATASET, Store(str(folder)), "gallery.html", 9, 0) == 4
    return (folder / "gallery.html").as_uri()


@pytest.fixture
def page(window, address):
    window.get("about:blank")
    window.get(address)
    return window


def seen(window, selector):
    """The elements of a selector that are seen, as one instant of the browser's layout has them."""
    return window.execute_script(
        "return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())", selector
    )


def change(window, selector, value):
    window.execute_script(
        "const box = document.querySelector(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('input', { bubbles: true }))",
        selector,
        value,
    )


def test_one_image_is_seen_at_a_time(page):
    (article,) = seen(page, "article")
    assert article.get_attribute("id") == "image-1"
    page.find_element("id", "next").click()
    (article,) = seen(page, "article")
    assert article.get_attribute("id") == "image-2"
    assert page.find_element("id", "place").text == "image 2 of 4"
    seen(page, "#contents a")[3].click()
    assert [each.get_attribute("id") for each in seen(page, "article")] == ["image-4"]
    assert not page.find_element("id", "next").is_enabled()
    page.find_element("id", "whole").click()
    assert len(seen(page, "article")) == 4


def test_filters_leave_what_fits(page):
    whole = seen(page, ".proposal")
    kinds = {each.get_attribute("data-kind") for each in whole}
    assert kinds == {"part", "complement"}
    page.find_element("css selector", 'input[name="kind"][value="complement"]').click()
    assert {each.get_attribute("data-kind") for each in seen(page, ".proposal")} == {"part"}
    change(page, "#low", "0.5")
    found = seen(page, ".proposal")
    assert 0 < len(found) < len(whole)
    assert all(float(each.get_attribute("data-granularity")) >= 0.5 for each in found)
    change(page, "#high", "0.5")
    assert not seen(page, ".proposal")
    assert "empty" in page.find_element("css selector", "#contents a").get_attribute("class")


def test_a_link_opens_the_image_of_a_proposal(window, address):
    window.get("about:blank")
    window.get(address)
    other = window.execute_script("return document.querySelector('#image-3 .proposal').id")
    window.get("about:blank")
    window.get(f"{address}#{other}")
    assert until(lambda: seen(window, "article"), "an image")[0].get_attribute("id") == "image-3"


def test_masks_can_be_taken_away_without_a_mouse(page):
    choice = page.find_element("css selector", 'input[name="over"][value="nothing"]')
    assert seen(page, ".proposal .dim")
    choice.send_keys(" ")
    assert not seen(page, ".proposal .dim")


def test_all_images_are_printed(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert len(seen(page, "article")) == 4
        assert not seen(page, "#tools")
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_telephone_is_wide_enough(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
