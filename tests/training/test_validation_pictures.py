"""The pictures of the validation steps."""

import cv2
import numpy as np

from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.training.validation_pictures import (
    CELL,
    CLICK,
    GAP,
    HEAD,
    TINT,
    TRUTH,
    Validation,
    ValidationMask,
    delete_pictures_after,
    pictures,
    write_picture,
)
from schemas.crop import crop_mask
from schemas.records import Click, ImageSummary

SIDE = 100


def square(top, left, side):
    frame = np.zeros((SIDE, SIDE), bool)
    frame[top : top + side, left : left + side] = True
    return crop_mask(frame, SIDE, SIDE)


def test_picture_shows_the_click_and_the_predicted_masks(tmp_path):
    grey = np.full((SIDE, SIDE, 3), 100, np.uint8)
    image = ImageSummary("a", "a.png", SIDE, SIDE, "", "")
    target = EvaluatedMask("a:1:object:0", image, 1, "object", None, None, None, square(0, 0, SIDE), 0.9, None)
    # One pixel of the image is more than one of the cell.
    found = Validation((Click(75, 25, True),), (None,), ((square(0, 0, 50),),), np.array([[0.25]]))
    write_picture(tmp_path / "pictures", 40, [ValidationMask(target, grey)], found)
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "pictures" / "step-0000040.png")), cv2.COLOR_BGR2RGB)
    assert picture.shape == (HEAD + CELL + GAP, 2 * (CELL + GAP), 3)
    clicked, tinted = picture[HEAD:, :CELL], picture[HEAD:, CELL + GAP : 2 * CELL + GAP]
    quarter, half = CELL // 4, CELL // 2
    np.testing.assert_array_equal(clicked[3 * quarter, quarter], CLICK)
    np.testing.assert_array_equal(clicked[quarter, quarter], (100, 100, 100))
    np.testing.assert_array_equal(tinted[quarter, quarter], (0.45 * 100 + 0.55 * np.array(TINT)).astype(np.uint8))
    np.testing.assert_array_equal(tinted[half + quarter, quarter], (100, 100, 100))
    np.testing.assert_array_equal(tinted[0, half], TRUTH)


def test_pictures_of_later_steps_are_deleted(tmp_path):
    for step in (0, 40, 1000):
        (tmp_path / f"step-{step:07d}.png").write_bytes(b"")
    assert list(pictures(tmp_path)) == [0, 40, 1000]
    delete_pictures_after(tmp_path, 40)
    assert list(pictures(tmp_path)) == [0, 40]
    delete_pictures_after(tmp_path / "nowhere", 0)
