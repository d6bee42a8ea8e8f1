"""The look of the pages: contrasts, and one place for colours."""

from itertools import product
from pathlib import Path

import pytest

import agg_pipeline.report.look
from agg_pipeline.figures.colours import COLOURS, KINDS, SERIES
from agg_pipeline.report.look import style_sheet

PAGES = Path(agg_pipeline.report.look.__file__).parent / "pages"
GROUNDS = ("page", "card")


def luminance(colour):
    """Relative luminance of WCAG 2."""
    shares = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("name", "mode"), list(product([*KINDS, *SERIES, "ink", "positive"], ("light", "dark"))))
def test_text_and_marks_can_be_read(name, mode):
    for ground in GROUNDS:
        assert contrast(getattr(COLOURS[name], mode), getattr(COLOURS[ground], mode)) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pressed_buttons_can_be_read(mode):
    assert contrast(getattr(COLOURS["accent"], mode), getattr(COLOURS["on-accent"], mode)) >= 4.5


def test_colours_of_charts_are_told_apart():
    # Charts are drawn in the light colours, which are then replaced by names.
    assert len({colour.light for colour in COLOURS.values()}) == len(COLOURS)


def test_the_style_sheet_has_every_colour_light_and_dark():
    for name, colour in COLOURS.items():
        assert f"--{name}: {colour.light};" in style_sheet()
        assert f"--{name}: {colour.dark};" in style_sheet()


def test_no_page_has_colours_of_its_own_for_kinds():
    for page in PAGES.iterdir():
        text = page.read_text()
        for kind in KINDS:
            assert f"--{kind}:" not in text, page
