"""Polygons rasterise to the masks that they are made of."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from agg_pipeline.database.exchange.mask_polygons import polygons
from schemas.crop import crop_mask


def rasterised(found, height, width):
    pieces = coco_mask.frPyObjects(found, height, width)
    return coco_mask.decode(coco_mask.merge(pieces)).astype(bool)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_noise_comes_back_exactly(seed, share):
    random = np.random.default_rng(seed)
    mask = random.random((random.integers(1, 24), random.integers(1, 24))) < share
    mask[0, 0] = True
    np.testing.assert_array_equal(rasterised(polygons(crop_mask(mask, *mask.shape)), *mask.shape), mask)


def test_a_ring_is_one_polygon_with_a_line_to_its_hole():
    mask = np.ones((4, 5), bool)
    mask[1:3, 2:4] = False
    (found,) = polygons(crop_mask(mask, 6, 7, 1, 1))
    assert found[:2] == found[-2:] == [1, 1]
    assert {(x, y) for x, y in zip(found[::2], found[1::2], strict=True)} == {
        *((1, 1), (6, 1), (6, 5), (1, 5)),
        *((3, 2), (5, 2), (5, 4), (3, 4)),
    }
    full = np.zeros((6, 7), bool)
    full[1:5, 1:6] = mask
    np.testing.assert_array_equal(rasterised([found], 6, 7), full)
