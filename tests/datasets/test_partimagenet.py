"""Annotated parts in the layout of PartImageNet."""

import json

import numpy as np
import pytest
from PIL import Image

from agg_pipeline.datasets.partimagenet import open_parts
from schemas.errors import UserError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "annotations" / "val").mkdir(parents=True)
    names = [{"id": 0, "name": "Person Bag"}, {"id": 5, "name": "Person Hair"}]
    (tmp_path / "class_names.json").write_text(json.dumps({"categories": names}))
    labels = np.full((6, 8), 40, np.uint8)
    labels[1:3, 1:4] = 5
    labels[4:, 5:] = 0
    labels[0, 0] = 9
    Image.fromarray(labels).save(tmp_path / "annotations" / "val" / "a_1.png")
    return tmp_path, labels


def test_parts_are_the_classes_of_an_image_without_the_background(root):
    folder, labels = root
    parts = open_parts(str(folder))("a_1")
    assert set(parts) == {"Person Bag", "Person Hair", "9"}
    np.testing.assert_array_equal(parts["Person Hair"], labels == 5)
    np.testing.assert_array_equal(parts["Person Bag"], labels == 0)


def test_image_without_annotation_has_no_parts(root):
    assert open_parts(str(root[0]))("another") == {}


@pytest.mark.parametrize("gone", ["annotations", "class_names.json"])
def test_missing_part_of_the_data_is_refused(root, gone):
    folder, _ = root
    (folder / gone).rename(folder / "elsewhere")
    with pytest.raises(UserError, match="holds no part annotations"):
        open_parts(str(folder))


def test_real_parts_lie_in_their_images(shared):
    parts_of = open_parts(str(shared / "data" / "parts-mini"))
    path = sorted((shared / "data" / "parts-mini" / "annotations" / "val").glob("*.png"))[0]
    parts = parts_of(path.stem)
    assert parts
    with Image.open(path) as image:
        shape = image.size[::-1]
    assert all(mask.shape == shape and mask.dtype == bool and mask.any() for mask in parts.values())
    assert sum(mask.astype(int) for mask in parts.values()).max() == 1
