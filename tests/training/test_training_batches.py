"""Which samples form which batch."""

from dataclasses import replace

from agg_pipeline.training.training_batches import BatchOrder


def test_an_epoch_holds_every_image(config):
    batches = list(BatchOrder(5, config.training).after(0))
    assert [len(batch) for batch in batches] == [2] * 6
    for epoch in range(2):
        own = [index for batch in batches[3 * epoch : 3 * epoch + 3] for index in batch]
        assert {epoch_ for epoch_, _ in own} == {epoch}
        assert {image for _, image in own} == set(range(5))
    assert batches[:3] != [[(0, image) for _, image in batch] for batch in batches[3:]]


def test_resuming_gives_the_rest(config):
    whole = list(BatchOrder(5, config.training).after(0))
    for step in range(7):
        assert list(BatchOrder(5, config.training).after(step)) == whole[step:]


def test_processes_share_a_batch(config):
    config = replace(config.training, batch=4)
    whole = list(BatchOrder(5, config).after(0))
    parts = [list(BatchOrder(5, config, rank, 2).after(0)) for rank in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert sorted(first + second) == sorted(batch)
