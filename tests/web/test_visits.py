"""Images that visitors have opened: kept for a while, and never another visitor's."""

import numpy as np
import pytest

from agg_pipeline.web import visits
from agg_pipeline.web.visits import Visits, shown
from schemas.crop import crop_mask
from schemas.errors import UserError

PIXELS = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)


def boxes(*sides):
    masks = []
    for side in sides:
        mask = np.zeros((20, 30), np.bool_)
        mask[:side, :side] = True
        masks.append(crop_mask(mask, 20, 30))
    return tuple(masks)


@pytest.fixture
def kept():
    return Visits(lambda pixels: pixels.sum())


def test_an_image_is_found_by_its_secret_alone(kept):
    one, other = kept.open(shown("one", PIXELS)), kept.open(shown("other", PIXELS[:10]))
    assert one.key != other.key
    assert (kept.of(one.key), kept.of(other.key)) == (one, other)
    kept.close(one.key)
    for key in (one.key, "", "nothing"):
        with pytest.raises(UserError, match="open it again"):
            kept.of(key)


def test_the_image_used_longest_ago_makes_room(kept, monkeypatch):
    monkeypatch.setattr(visits, "MOST_VISITS", 3)
    first, second, third = (kept.open(shown(name, PIXELS)) for name in "abc")
    kept.of(first.key)
    fourth = kept.open(shown("d", PIXELS))
    assert len(kept) == 3
    assert [kept.of(each.key).picture.name for each in (first, third, fourth)] == ["a", "c", "d"]
    with pytest.raises(UserError):
        kept.of(second.key)


def test_images_are_forgotten_after_a_while(kept, monkeypatch):
    visit = kept.open(shown("a", PIXELS))
    now = visits.time.monotonic()
    monkeypatch.setattr(visits.time, "monotonic", lambda: now + visits.KEPT_SECONDS + 1)
    with pytest.raises(UserError):
        kept.of(visit.key)
    assert len(kept) == 0


def test_large_images_are_made_smaller(monkeypatch):
    monkeypatch.setattr(visits, "SHOWN_PIXELS", 150)
    picture = shown("a", PIXELS, boxes(4))
    assert picture.pixels.shape == (10, 15, 3)
    assert (picture.height, picture.width) == (20, 30)
    (truth,) = picture.truths
    assert (truth.full() == boxes(4)[0].full()[::2, ::2]).all()
    assert picture.in_given_pixels([(0, 14, True), (9.9, 0, False)]) == [(1, 29, True), (19, 1, False)]
    assert (shown("a", PIXELS[:10, :15]).pixels == PIXELS[:10, :15]).all()


def test_the_truth_is_the_smallest_object_under_the_first_click_or_the_visitors(kept):
    visit = kept.open(shown("a", PIXELS, boxes(10, 4)))
    assert visit.truth_of([(2.5, 3.9, True), (9, 9, True)]).sum() == 16
    assert visit.truth_of([(9, 9, True)]).sum() == 100
    assert visit.truth_of([(15, 25, True)]) is None
    visit.truth = np.ones((20, 30), np.bool_)
    assert visit.truth_of([(2, 2, True)]).all()
