"""The page of ``agg view`` in a browser, as tests see and use it."""

import json
from urllib.parse import unquote

from tests.web.browser import until


class ViewWindow:
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

    def focused(self):
        return self.window.switch_to.active_element

    def message(self):
        return self.one("#message").text

    def drag(self, slider, value):
        """Bring a slider to a value, as a pointer does."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.window.execute_script(script, self.one(slider), value)

    def state(self):
        return json.loads(unquote(self.window.execute_script("return location.hash.slice(1)")))

    def keys(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.window).send_keys(*keys).perform()

    def problems(self):
        return [entry["message"] for entry in self.window.get_log("browser") if entry["level"] == "SEVERE"]
