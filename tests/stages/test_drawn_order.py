"""The draw of the images that a page shows."""

import pytest

from stages.draws import drawn_order

IDS = [f"image_{number}" for number in range(30)]


def test_every_image_is_drawn_once():
    assert sorted(drawn_order(IDS, "toy", "gallery", 0)) == list(range(30))
    assert drawn_order([], "toy", "gallery", 0) == []


def test_draw_of_an_image_depends_on_its_id_alone():
    drawn = [IDS[place] for place in drawn_order(IDS, "toy", "gallery", 0)]
    turned = IDS[::-1]
    assert [turned[place] for place in drawn_order(turned, "toy", "gallery", 0)] == drawn
    fewer = IDS[:10]
    assert [fewer[place] for place in drawn_order(fewer, "toy", "gallery", 0)] == [one for one in drawn if one in fewer]


@pytest.mark.parametrize("key", [("other", "gallery", 0), ("toy", "contact-sheet", 0), ("toy", "gallery", 1)])
def test_dataset_page_and_seed_change_the_draw(key):
    assert drawn_order(IDS, *key)[:5] != drawn_order(IDS, "toy", "gallery", 0)[:5]


def test_draw_matches_the_recorded_one():
    # Recorded: pages of the same database show the same images in every version.
    assert sorted(drawn_order(IDS, "toy", "gallery", 0)[:5]) == [2, 12, 19, 20, 21]
