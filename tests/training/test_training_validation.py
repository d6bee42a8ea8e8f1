"""The masks of the validation steps."""

import pytest

from agg_pipeline.training.training_validation import masks_of_evaluation_split, masks_or_note
from schemas.errors import UserError


def test_masks_are_of_the_split_for_evaluation():
    masks = masks_of_evaluation_split(("demo", "", "train"), 0, 2)
    targets = [mask.target for mask in masks]
    assert [target.level for target in targets].count("object") == 2
    assert [target.level for target in targets].count("part") == 2
    assert all(target.image.image_id >= "demo_100000" for target in targets)
    assert [mask.pixels.shape for mask in masks] == [(each.image.height, each.image.width, 3) for each in targets]
    (one, *_) = masks_of_evaluation_split(("demo", "", "train"), 0, 1)
    assert one.target.target_id in {target.target_id for target in targets}
    with pytest.raises(UserError, match="the split for evaluation, demo val, is trained on"):
        masks_of_evaluation_split(("demo", "", "val"), 0, 2)


def test_no_masks_are_explained_if_some_were_wanted():
    def find(masks):
        raise UserError(f"{masks} are too many")

    assert masks_or_note(8, find) == ((), ("no validation steps: 8 are too many",))
    assert masks_or_note(0, find) == ((), ())
    assert masks_or_note(2, lambda masks: ("mask",) * masks) == (("mask", "mask"), ())
