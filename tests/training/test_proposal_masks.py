"""Masks of proposal databases and the images that go with them."""

import pickle
from functools import partial

import numpy as np
import pytest

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.images import read_image
from agg_pipeline.storage.store import Store
from agg_pipeline.training.mask_rows import choose_rows
from agg_pipeline.training.proposal_masks import ProposalMasks
from agg_pipeline.training.training_images import ImageReader, image_reader
from tests.training.conftest import IMAGES


@pytest.fixture
def opened(proposals):
    def open_(reader, **options):
        databases = [open_proposals(str(proposals))]
        return ProposalMasks(databases, [reader], choose_rows(databases, "agg", False), **options)

    return open_


@pytest.fixture
def masks(opened, data):
    return opened(image_reader("folder", str(data)))


def test_a_draw_is_the_row_that_it_says(masks, proposals):
    there = open_proposals(str(proposals)).proposals().to_pylist()
    known = {(row["image_id"], row["area"], row["bin"]) for row in there}
    for row in range(len(masks.rows)):
        drawn = masks.open(row)
        path = masks.rows.images[masks.rows.image[row]].path
        image_id = path.split("/")[1].removesuffix(".png")
        assert (image_id, int(drawn.mask.sum()), drawn.bin) in known
        assert drawn.pixels.shape == (*drawn.mask.shape, 3)
        assert not (drawn.mask & ~drawn.around).any()
        assert not (drawn.others & drawn.mask).any()
        assert bool(drawn.others.any()) == (image_id != f"im_{IMAGES - 1}")


def test_they_can_be_sent_to_another_process(masks):
    masks.open(0)
    copy = pickle.loads(pickle.dumps(masks))  # noqa: S301
    assert np.array_equal(copy.open(1).mask, masks.open(1).mask)
    assert copy.cache_bytes == masks.cache_bytes


def test_images_are_kept_within_the_budget(opened, data):
    read = []

    def pixels(path):
        read.append(path)
        return read_image(Store(str(data)), path)

    reader = ImageReader(pixels, partial(pytest.fail, "not needed"))
    size = read_image(Store(str(data)), "images/im_0.png")[0].nbytes
    for budget, times in ((2 * size, 2), (3 * size, 1)):
        masks = opened(reader, cache_bytes=budget)
        first = [int(masks.rows.of_image(image)[0]) for image in range(3)]
        read.clear()
        for row in (*first, *first):
            masks.open(row)
        assert read == times * [masks.rows.images[image].path for image in range(3)]
