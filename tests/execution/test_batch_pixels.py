"""Which pixels a shard keeps, and which are read again for a batch; how a changed image ends a run."""

import weakref
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from distributed.protocol import deserialize, serialize

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.batch_pixels import BatchPixels, keep, pixels_of
from agg_pipeline.execution.job import tasks_of
from agg_pipeline.execution.shard_task import ShardTask
from schemas.config import BatchConfig, ProposalsConfig
from schemas.errors import ImageError, StorageError, UserError
from schemas.records import ImageEntry, ImageRecord, ImageSummary


def pixels(height, width, colour=0):
    return np.full((height, width, 3), colour, np.uint8)


def summary(image_id, sha256="5ha"):
    return ImageSummary(image_id, f"img/{image_id}.png", 4, 5, sha256, "")


def test_pixels_are_kept_up_to_two_batches():
    kept = {}
    for image_id, height, width in (("a", 10, 10), ("b", 3, 30), ("c", 1, 11), ("d", 2, 5), ("e", 1, 1)):
        record = ImageRecord(image_id, "", "", "", pixels(height, width), ())
        keep(kept, record, BatchConfig(batch_pixels=100))
        assert kept.get(image_id, record.pixels) is record.pixels
    # Of 200 pixels: 100, 90; 11 more are too many; 10 fit; then nothing.
    assert list(kept) == ["a", "b", "d"]


def test_defaults_keep_what_common_data_sets_have():
    for height, width, fits in ((500, 375, 32), (480, 640, 32), (4000, 6000, 0), (1500, 2250, 4)):
        kept = {}
        for number in range(32):
            keep(kept, ImageRecord(str(number), "", "", "", pixels(height, width), ()), BatchConfig())
        assert len(kept) == fits


class Recorder:
    """Reads images, and records of each which others were in memory when it was read."""

    def __init__(self):
        self.reads = []
        self.alive = {}

    def __call__(self, image):
        self.reads.append((image.image_id, sorted(self.alive)))
        made = pixels(4, 5, ord(image.image_id))
        self.alive[image.image_id] = True
        weakref.finalize(made, self.alive.pop, image.image_id)
        return made


def test_consecutive_batches_share_what_is_read_and_nothing_else_is_held():
    read, kept = Recorder(), {"a": pixels(4, 5, ord("a"))}
    batch_pixels = BatchPixels(read, kept)

    def check(names):
        found = batch_pixels.of([summary(name) for name in names])
        assert [int(each[0, 0, 0]) for each in found] == [ord(name) for name in names]
        assert len({id(each) for each in found}) == len(set(names))

    for batch in ("aab", "b", "bc", "a", "cdc", "db"):
        check(batch)
    assert read.reads == [("b", []), ("c", ["b"]), ("c", []), ("d", ["c"]), ("b", ["d"])]
    assert sorted(read.alive) == ["b", "d"]


@dataclass(frozen=True)
class State:
    task: ShardTask
    pixels: dict = field(default_factory=dict)


def state(read_pixels=None, read=None):
    entries = (ImageEntry("a", "img/a.png", 1, None), ImageEntry("b", "img/b.png", 1, None))
    return State(ShardTask(0, "toy", entries, read, None, read_pixels=read_pixels))


def test_an_image_is_read_by_its_path_or_with_its_masks():
    paths = []

    def read_pixels(path):
        paths.append(path)
        return pixels(4, 5, 7), "5ha"

    (found,) = pixels_of(state(read_pixels, pytest.fail)).of([summary("b")])
    assert (found[0, 0, 0], paths) == (7, ["img/b.png"])
    entries = []

    def read(entry):
        entries.append(entry.image_id)
        return ImageRecord(entry.image_id, entry.path, "5ha", "", pixels(4, 5, 9), ())

    (found,) = pixels_of(state(read=read)).of([summary("b")])
    assert (found[0, 0, 0], entries) == (9, ["b"])


CHANGED = "image img/a.png has changed while the run used it: {}; leave the data as it is while a run works"


def test_an_image_that_changes_during_a_run_ends_it():
    with pytest.raises(UserError) as error:
        pixels_of(state(lambda _path: (pixels(4, 5), "other"))).of([summary("a")])
    assert str(error.value) == CHANGED.format("it has another sha256 than before")

    def gone(path):
        raise ImageError("unreadable_image", f"{path} does not exist")

    with pytest.raises(UserError) as error:
        pixels_of(state(gone)).of([summary("a")])
    assert str(error.value) == CHANGED.format("img/a.png does not exist")
    assert not isinstance(error.value, StorageError)

    def fails(path):
        raise StorageError(f"cannot read {path} now")

    with pytest.raises(StorageError, match=r"^cannot read img/a.png now$"):
        pixels_of(state(fails)).of([summary("a")])


def test_tasks_of_a_data_set_read_pixels_alone_and_travel():
    dataset = open_dataset("demo", "", "2")
    (task,) = tasks_of(dataset, ProposalsConfig(), 8, None)
    record = task.read(task.entries[1])
    # As Dask sends it to another process.
    travelled = deserialize(*serialize(replace(task, read=None)))
    (found,) = pixels_of(State(travelled)).of([record.summary])
    np.testing.assert_array_equal(found, record.pixels)
