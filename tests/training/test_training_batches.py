"""Which samples form which batch, and processes that do not give them."""

import multiprocessing
import tempfile
import time
from dataclasses import replace

import pytest

from agg_pipeline.training import training_batches
from agg_pipeline.training.training_batches import BatchOrder, load_batches, next_batch
from agg_pipeline.training.training_processes import choose_devices
from schemas.errors import UserError


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


class Hanging:
    """Samples that never come."""

    def __getitem__(self, _sample):
        time.sleep(10_000)


def test_processes_that_give_no_batch_end_the_training(config, monkeypatch):
    # They need some seconds to start.
    monkeypatch.setattr(training_batches, "SILENT_SECONDS", 3.0)
    batches = load_batches(Hanging(), BatchOrder(4, config.training), 0, 1)
    with pytest.raises(UserError, match=r"^the processes that prepare samples have given no batch for 600 s; try "):
        next_batch(batches)
    for process in multiprocessing.active_children():
        process.join(10)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("changes", "refused"), [({}, False), ({"loaders": 1}, True), ({"devices": 2}, True)])
def test_processes_need_a_short_path_of_temporary_files(config, changes, refused, tmp_path, monkeypatch):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    training = replace(config.training, **changes)
    if not refused:
        choose_devices(training)
        return
    with pytest.raises(UserError, match=r"; set TMPDIR to a folder with a shorter path "):
        choose_devices(training)
