"""The samples of fine-tuning, and batches of them."""

from dataclasses import replace

import numpy as np
import pytest

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.training.mask_rows import choose_rows
from agg_pipeline.training.proposal_masks import ProposalMasks
from agg_pipeline.training.proposal_samples import ProposalSamples
from agg_pipeline.training.training_batch import collate
from agg_pipeline.training.training_images import image_reader
from schemas.resolve import override


@pytest.fixture
def samples(proposals, data, config):
    databases = [open_proposals(str(proposals))]
    masks = ProposalMasks(databases, [image_reader("folder", str(data))], choose_rows(databases, "agg", False))
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
