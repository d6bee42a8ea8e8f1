"""Figures for notebooks: what they show, and that texts in them are texts."""

import base64
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from agg_pipeline.figures.colours import COLOURS
from agg_pipeline.figures.mask_figure import MOST, DrawnMask, mask_figure
from schemas.crop import crop_mask
from schemas.errors import UserError

SVG = "{http://www.w3.org/2000/svg}"
PIXELS = np.zeros((60, 80, 3), np.uint8)
PIXELS[..., 0] = 200


def drawn(left=10, text="0.50 part", colour="part", clicks=()):
    mask = np.zeros((60, 80), np.bool_)
    mask[20:40, left : left + 30] = True
    return DrawnMask(crop_mask(mask, 60, 80), colour, text, clicks)


def read(figure):
    return ElementTree.fromstring(figure._repr_svg_())


def pictures(figure):
    return read(figure).findall(f"{SVG}g")


def test_a_mask_lies_where_it_is_over_the_photograph():
    figure = mask_figure(PIXELS, [drawn()], "one")
    (image,) = read(figure).iter(f"{SVG}image")
    content = base64.b64decode(image.get("href").partition(",")[2])
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert abs(found.reshape(-1, 3).mean(axis=0) - (0, 0, 200)).max() < 8
    scale = float(image.get("width")) / 80
    assert scale == pytest.approx(float(image.get("height")) / 60)
    (picture,) = pictures(figure)
    path = picture.find(f"{SVG}path")
    places = np.array(re.findall(r"([\d.]+) ([\d.]+)", path.get("d")), float) / scale
    assert places.min(axis=0) == pytest.approx((10, 20), abs=0.5)
    assert places.max(axis=0) == pytest.approx((40, 40), abs=0.5)
    assert path.get("fill") == COLOURS["part"].light
    assert picture.find(f"{SVG}text").text == "0.50 part"


def test_clicks_lie_on_their_pixels():
    figure = mask_figure(PIXELS, [drawn(clicks=[(30, 20, True), (5.0, 70.0, False)])], "one")
    scale = float(next(read(figure).iter(f"{SVG}image")).get("width")) / 80
    circles = pictures(figure)[0].findall(f"{SVG}circle")
    places = [(float(each.get("cy")) / scale, float(each.get("cx")) / scale) for each in circles]
    assert places == [pytest.approx((30.5, 20.5), abs=0.1), pytest.approx((5.5, 70.5), abs=0.1)]
    assert [each.get("fill") for each in circles] == [COLOURS["positive"].light, COLOURS["negative"].light]


def test_several_masks_share_one_photograph_and_keep_their_order():
    figure = mask_figure(PIXELS, [drawn(left, f"number {left}") for left in range(7)], "seven")
    assert len(list(read(figure).iter(f"{SVG}image"))) == 1
    assert [each.find(f"{SVG}text").text for each in pictures(figure)] == [f"number {left}" for left in range(7)]
    places = [each.get("transform") for each in pictures(figure)]
    assert len(set(places)) == 7
    _, _, width, height = map(float, read(figure).get("viewBox").split())
    for place in places:
        x, y = map(float, re.findall(r"[\d.]+", place))
        assert 0 <= x < width
        assert 0 <= y < height


def test_two_images_in_one_notebook_do_not_share_a_name():
    names = [
        next(read(mask_figure(pixels, [drawn()], "")).iter(f"{SVG}image")).get("id") for pixels in (PIXELS, PIXELS + 9)
    ]
    assert len(set(names)) == 2


def test_there_is_a_largest_number_of_masks_and_there_may_be_none():
    figure = mask_figure(PIXELS, [drawn()] * (MOST + 3), "many")
    assert len(pictures(figure)) == MOST
    assert "3 more are not shown" in read(figure).find(f"{SVG}title").text
    assert pictures(mask_figure(PIXELS, [], "none")) == []


def test_texts_are_texts():
    figure = mask_figure(PIXELS, [drawn(text="</text><script>alert(1)</script>\x1b")], "<b>&\x00")
    assert [each.tag for each in read(figure).iter() if "script" in each.tag or each.tag.endswith("}b")] == []
    assert "<script>" in pictures(figure)[0].find(f"{SVG}text").text


def test_a_figure_is_saved(tmp_path):
    figure = mask_figure(PIXELS, [drawn()], "ä")
    figure.save(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8") == figure.svg
    assert "svg" not in repr(figure)
    with pytest.raises(UserError, match="cannot write"):
        figure.save(tmp_path / "none" / "figure.svg")
