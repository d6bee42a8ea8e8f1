"""The samples of fine-tuning: masks of proposal databases, the images that go with them, and batches."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.images import read_image
from agg_pipeline.storage.store import Store
from agg_pipeline.training.mask_rows import choose_rows
from agg_pipeline.training.proposal_samples import ProposalMasks, ProposalSamples
from agg_pipeline.training.training_batches import collate
from agg_pipeline.training.training_images import ImageReader, image_reader
from schemas.resolve import override
from tests.training.conftest import IMAGES


@pytest.fixture
def opened(proposals):
    def open_(reader, **options):
        databases = [open_proposals(str(proposals))]
        return ProposalMasks(databases, {"folder": reader}, choose_rows(databases, "agg", "both"), **options)

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


@pytest.fixture
def samples(proposals, data, config):
    databases = [open_proposals(str(proposals))]
    masks = ProposalMasks(
        databases, {"folder": image_reader("folder", str(data))}, choose_rows(databases, "agg", "both")
    )
    return ProposalSamples(masks, config)


def test_a_sample_depends_on_seed_epoch_and_image_alone(samples, config):
    first, again = samples[0, 1], samples[0, 1]
    assert np.array_equal(first.pixels, again.pixels)
    assert first.clicks == again.clicks
    others = [
        samples[1, 1],
        samples[0, 2],
        ProposalSamples(samples.masks, override(config, {"training": {"seed": 1}}))[0, 1],
    ]
    assert not any(np.array_equal(first.pixels, other.pixels) for other in others)


def test_clicks_lie_on_what_they_mark(samples):
    for image in range(5):
        for epoch in range(6):
            sample = samples[epoch, image]
            assert sample.pixels.shape == (32, 32, 3)
            assert 0 <= sample.row <= 9
            for click in sample.clicks:
                assert (sample.target[click.row, click.col] == 1) == click.positive


def test_without_granularity_there_is_no_row(samples, config):
    assert ProposalSamples(samples.masks, replace(config, granularity=False))[0, 0].row == -1


def test_batch_holds_its_samples(samples):
    batch = collate([samples[0, n] for n in range(4)])
    assert batch.pixels.shape == (4, 32, 32, 3)
    part = batch.part(1, 3)
    assert len(part) == 2
    assert part.clicks == batch.clicks[1:3]
    assert np.array_equal(part.target.numpy(), batch.target.numpy()[1:3])
