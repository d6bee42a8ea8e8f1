"""The demo in a real browser: what a visitor clicks, drags and keeps is what the model predicts."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from agg_pipeline import load_model
from agg_pipeline.datasets.registry import open_dataset
from tests.web.browser import served, until

IMAGE = "demo_000001"


@pytest.fixture(scope="module")
def address():
    with served("demo", "--split", "3", "--device", "cpu") as address:
        yield address


class Page:
    """The open page."""

    def __init__(self, window, address):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.select import Select

        self.window, self._actions, self._id, self._css, self._select = (
            window,
            ActionChains,
            By.ID,
            By.CSS_SELECTOR,
            Select,
        )
        window.get_log("browser")  # what an earlier page has said
        window.get(address)
        until(lambda: self.data("image") == "demo_000000", "the first image")
        self.choose("images", IMAGE)
        until(lambda: self.data("image") == IMAGE, "the chosen image")

    def element(self, name):
        return self.window.find_element(self._id, name)

    def data(self, name):
        return self.element("canvas").get_attribute(f"data-{name}")

    def text(self, name):
        return self.element(name).text

    def choose(self, name, value):
        self._select(self.element(name)).select_by_value(value)

    def do(self, *steps):
        actions = self._actions(self.window)
        for name, *arguments in steps:
            getattr(actions, name)(*arguments)
        actions.perform()

    def place(self, row, col, height, width):
        """Offset from the middle of the canvas at which a pixel of the image is shown."""
        size = self.element("canvas").size
        scale = min(size["width"] / width, size["height"] / height)
        return round((col + 0.5 - width / 2) * scale), round((row + 0.5 - height / 2) * scale)

    def masks(self, count=10):
        until(lambda: self.data("masks") == str(count), f"{count} masks")

    def problems(self):
        return [entry["message"] for entry in self.window.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def page(window, address):
    return Page(window, address)


@pytest.fixture(scope="module")
def scene():
    """An image of the page, and a pixel deep inside of its largest object."""
    dataset = open_dataset("demo", "", "3")
    record = dataset.read(dataset.entries[1])
    mask = max((each.mask.full() for each in record.objects), key=np.sum)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    row, col = np.unravel_index(distance.argmax(), mask.shape)
    return record, int(row), int(col)


def click(page, scene, *before):
    record, row, col = scene
    x, y = page.place(row, col, *record.pixels.shape[:2])
    page.do(*before, ("move_to_element_with_offset", page.element("canvas"), x, y), ("click",))


def clicked(page, downloads):
    """The clicks of the first object, as its COCO file has them."""
    file = downloads / f"{IMAGE}-coco.json"
    file.unlink(missing_ok=True)
    page.window.find_element(page._css, "[data-kind=coco]").click()
    until(file.exists, "the COCO file")
    return json.loads(file.read_text())["annotations"][0]


def test_a_click_and_the_slider_show_masks_that_grow(page, scene):
    from selenium.webdriver.common.keys import Keys

    click(page, scene)
    page.masks()
    assert page.data("clicks") == "1"
    areas = [int(page.data("area"))]
    slider = page.element("granularity")
    for _ in range(9):
        slider.send_keys(Keys.ARROW_LEFT)
        areas.append(int(page.data("area")))
    assert page.data("granularity") == "0.1"
    assert page.text("granularity-value") == "0.1"
    # The built-in model is not exact, but larger numbers give larger masks.
    assert areas[0] > areas[5] > 0
    assert areas[0] > 2 * areas[-1]
    assert 0 < float(page.text("iou")) <= 1
    assert "ms" in page.text("latency")
    assert page.problems() == []


def test_the_exported_mask_is_that_of_predict(page, scene, downloads):
    click(page, scene)
    page.masks()
    made = clicked(page, downloads)
    ((row, col, positive),) = made["clicks"]
    assert positive is True
    assert abs(row - scene[1]) <= 1
    assert abs(col - scene[2]) <= 1
    file = downloads / f"{IMAGE}-mask.png"
    file.unlink(missing_ok=True)
    page.window.find_element(page._css, "[data-kind=mask]").click()
    until(file.exists, "the mask")
    until(lambda: file.stat().st_size > 0, "the mask's bytes")
    expected = load_model(device="cpu").open(scene[0].pixels).predict([(row, col, True)], 1.0) > 0.5
    found = np.asarray(Image.open(file))
    assert (found == expected * 255).mean() > 0.9999
    assert int(page.data("area")) == (found > 0).sum()


def test_right_clicks_and_alt_are_negative_and_undo_takes_back(page, scene, downloads):
    click(page, scene)
    page.masks()
    area = page.data("area")
    x, y = page.place(5, 5, *scene[0].pixels.shape[:2])
    page.do(("move_to_element_with_offset", page.element("canvas"), x, y), ("context_click",))
    until(lambda: page.data("clicks") == "2", "two clicks")
    page.masks()
    assert [each[2] for each in clicked(page, downloads)["clicks"]] == [True, False]
    page.element("undo").click()
    page.masks()
    assert (page.data("clicks"), page.data("area")) == ("1", area)
    from selenium.webdriver.common.keys import Keys

    click(page, scene, ("key_down", Keys.ALT))
    page.do(("key_up", Keys.ALT))
    page.masks()
    assert [each[2] for each in clicked(page, downloads)["clicks"]] == [True, False]
    page.element("reset").click()
    assert page.data("clicks") == "0"
    assert not page.element("undo").is_enabled()


def test_several_objects_keep_their_own_masks(page, scene, downloads):
    click(page, scene)
    page.masks()
    page.element("new-object").click()
    x, y = page.place(8, 8, *scene[0].pixels.shape[:2])
    page.do(("move_to_element_with_offset", page.element("canvas"), x, y), ("click",))
    page.masks()
    buttons = page.window.find_elements(page._css, "#objects button")
    assert [each.get_attribute("aria-pressed") for each in buttons] == ["false", "true"]
    name = page.window.find_elements(page._css, "#objects input")[0]
    name.send_keys("<i>gnr")
    clicked(page, downloads)
    content = json.loads((downloads / f"{IMAGE}-coco.json").read_text())
    assert len(content["annotations"]) == 2
    assert sorted(each["name"] for each in content["categories"]) == ["<i>gnr", "object"]
    # Letters in a name are no shortcuts.
    assert (page.data("clicks"), page.data("granularity")) == ("1", "1")


def test_all_ten_masks_are_shown_and_one_can_be_chosen(page, scene):
    click(page, scene)
    page.masks()
    page.element("auto").click()
    buttons = page.window.find_elements(page._css, "#thumbnails button")
    assert [each.text for each in buttons] == [f"0.{number}" for number in range(1, 10)] + ["1.0"]
    buttons[2].click()
    assert page.data("granularity") == "0.3"
    assert buttons[2].get_attribute("aria-pressed") == "true"


def test_keys_do_what_the_mouse_does(page):
    from selenium.webdriver.common.keys import Keys

    canvas = page.element("canvas")
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ENTER)
    until(lambda: page.data("clicks") == "1", "a click")
    page.masks()
    page.do(("send_keys", "G"))
    assert page.data("granularity") == "0.9"
    page.do(("send_keys", "g"))
    assert page.data("granularity") == "1"
    page.do(("send_keys", "u"))
    assert page.data("clicks") == "0"


def test_a_photograph_is_opened_and_what_is_none_is_refused(page, tmp_path):
    cv2.imwrite(str(tmp_path / "mine.png"), np.full((60, 80, 3), 120, np.uint8))
    page.element("upload").send_keys(str(tmp_path / "mine.png"))
    until(lambda: page.data("image") == "mine.png", "the photograph")
    (tmp_path / "text.png").write_text("no image")
    page.element("upload").send_keys(str(tmp_path / "text.png"))
    until(lambda: page.element("message").is_displayed(), "a message")
    assert "text.png" in page.text("message")
    assert page.data("image") == "mine.png"


def test_the_page_says_that_a_photograph_is_shown_smaller(page, tmp_path):
    cv2.imwrite(str(tmp_path / "large.png"), np.full((1500, 2000, 3), 120, np.uint8))
    page.element("upload").send_keys(str(tmp_path / "large.png"))
    until(lambda: page.data("image") == "large.png", "the photograph")
    assert page.text("size") == "2000 x 1500 px, shown at 1414 x 1060"
    page.choose("images", IMAGE)
    until(lambda: page.data("image") == IMAGE, "the image")
    assert "shown at" not in page.text("size")


def test_wheel_and_shift_move_the_image_and_do_not_click(page, scene, downloads):
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.common.keys import Keys

    canvas = page.element("canvas")
    x, y = page.place(scene[1], scene[2], *scene[0].pixels.shape[:2])
    page.do(("scroll_from_origin", ScrollOrigin.from_element(canvas, x, y), 0, -400))
    page.do(
        ("key_down", Keys.SHIFT),
        ("move_to_element_with_offset", canvas, x, y),
        ("click_and_hold",),
        ("move_by_offset", 20, 10),
        ("release",),
        ("key_up", Keys.SHIFT),
    )
    assert page.data("clicks") == "0"
    # The pixel under the pointer has stayed there while it was zoomed, and has moved with it.
    page.do(("move_to_element_with_offset", canvas, x + 20, y + 10), ("click",))
    page.masks()
    ((row, col, _),) = clicked(page, downloads)["clicks"]
    assert abs(row - scene[1]) <= 1
    assert abs(col - scene[2]) <= 1
    page.element("fit").click()


HOLD = """
const [part, count] = arguments;
const real = window.fetch;
let left = count;
const released = new Promise((resolve) => { window.release = resolve; });
window.held = 0;
window.fetch = async (path, options) => {
  const answer = await real(path, options);
  if (left > 0 && `${path} ${options?.body}`.includes(part)) {
    left -= 1;
    window.held += 1;
    await released;
  }
  return answer;
};
"""


def hold(page, part, count=1):
    """Let the page wait for the answers to its first requests that have a text in their path or body."""
    page.window.execute_script(HOLD, part, count)


def release(page):
    """Hand over the answers that are held, and give the page time to use them."""
    page.window.execute_async_script("window.release(); setTimeout(arguments[0], 500)")


def areas(page):
    """Areas of the masks of all granularities."""
    from selenium.webdriver.common.keys import Keys

    slider = page.element("granularity")
    found = []
    for key in [""] + [Keys.ARROW_LEFT] * 9 + [Keys.ARROW_RIGHT] * 9:
        slider.send_keys(key)
        found.append(page.data("area"))
    assert found[:9] == found[:9:-1]
    return found[:10]


@pytest.mark.parametrize("key", ["u", "r"])
def test_masks_of_a_click_that_was_taken_back_are_not_shown(page, scene, key):
    x, y = page.place(30, 30, *scene[0].pixels.shape[:2])
    other = ("move_to_element_with_offset", page.element("canvas"), x, y), ("click",)
    page.do(*other)
    page.masks()
    expected = areas(page)
    page.element("reset").click()
    hold(page, '"urgent":false')
    click(page, scene)
    until(lambda: page.window.execute_script("return window.held") == 1, "an answer that is held")
    page.do(("send_keys", key))
    page.do(*other)
    page.masks()
    release(page)
    assert areas(page) == expected


def test_objects_of_every_image_can_be_named(page, scene, downloads):
    page.window.find_element(page._css, "#objects input").send_keys("of the image before")
    page.choose("images", "demo_000002")
    until(lambda: page.data("image") == "demo_000002", "the other image")
    page.choose("images", IMAGE)
    until(lambda: page.data("image") == IMAGE, "the image")
    page.window.find_element(page._css, "#objects input").send_keys("lamp")
    click(page, scene)
    page.masks()
    clicked(page, downloads)
    content = json.loads((downloads / f"{IMAGE}-coco.json").read_text())
    assert [each["name"] for each in content["categories"]] == ["lamp"]


def test_the_image_that_was_chosen_last_is_shown_and_the_others_are_closed(page):
    hold(page, "name=demo_000000")
    page.window.execute_script(
        "window.deleted = []; const held = window.fetch; window.fetch = (path, options) => {"
        "if (options?.method === 'DELETE') window.deleted.push(path); return held(path, options); }"
    )
    page.choose("images", "demo_000000")
    until(lambda: page.window.execute_script("return window.held") == 1, "an answer that is held")
    page.choose("images", "demo_000002")
    until(lambda: page.data("image") == "demo_000002", "the image that was chosen last")
    release(page)
    assert page.data("image") == "demo_000002"
    assert page.element("images").get_attribute("value") == "demo_000002"
    # The image before, and the one that came too late.
    closed = page.window.execute_script("return window.deleted")
    assert len(set(closed)) == 2


def test_an_export_that_fails_says_so(page, scene):
    click(page, scene)
    page.masks()
    page.window.execute_script(
        "window.fetch = async () => new Response(JSON.stringify({ error: 'a newer request' }), { status: 409 })"
    )
    page.window.find_element(page._css, "[data-kind=mask]").click()
    until(lambda: page.element("message").is_displayed(), "a message")
    assert page.text("message") == "a newer request"


def test_arrow_keys_move_a_cross_only_where_it_is_wanted(page):
    crosses = page.window.execute_async_script(
        """
        const done = arguments[0];
        import("/static/stage.js").then(({ Stage }) => done([{}, { hasCross: true }].map((option) => {
          const canvas = document.body.appendChild(document.createElement("canvas"));
          const stage = new Stage(canvas, { click: () => {}, draw: () => {}, ...option });
          stage.show(document.getElementById("canvas"), 40, 40);
          canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
          canvas.remove();
          return stage.cross;
        })));
        """
    )
    assert crosses == [None, [25, 20]]


def test_paper_has_the_masks_and_no_labels_of_controls(page, scene):
    click(page, scene)
    page.masks()
    page.element("auto").click()
    page.window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        thumbnails = page.window.find_elements(page._css, "#thumbnails button")
        assert [each.is_displayed() for each in thumbnails] == [True] * 10
        labels = page.window.find_elements(page._css, "label")
        assert [each.text for each in labels if each.is_displayed()] == ["Granularity"]
        assert page.element("area").is_displayed()
    finally:
        page.window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_a_telephone_and_everything_has_a_name(window, address, width):
    window.set_window_size(width, 900)
    try:
        page = Page(window, address)
        assert window.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        unnamed = window.execute_script(
            "return [...document.querySelectorAll('button, select, input, canvas')].filter(each => "
            "!each.closest('#thumbnails') && !(each.labels?.length || each.getAttribute('aria-label') || "
            "each.textContent.trim())).map(each => each.outerHTML)"
        )
        assert unnamed == []
        assert page.problems() == []
    finally:
        window.set_window_size(1400, 900)
