"""A small proposal database, made by the stages with a model of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.shard_files import PLAN, publish, sidecars
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals.pipeline import chain, write_shard
from agg_pipeline.storage.store import Store
from schemas.crop import Box, Crop, crop_mask
from schemas.errors import ImageError
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord, ObjectMask, Prediction
from schemas.resolve import override, validated

HEIGHT, WIDTH = 90, 120
MODEL = {"architecture": "toy", "input_size": 32, "sha256": "0" * 64}
ENVIRONMENT = {"device": "cpu", "torch": "0"}


class Halver:
    """Keeps the half of the prompt on the side of the last click; the probability falls with the distance to it."""

    def predict(self, interactions):
        return [self._one(interaction) for interaction in interactions]

    def _one(self, interaction):
        height, width = interaction.image.shape[:2]
        click = interaction.clicks[-1]
        rows, cols = np.ogrid[:height, :width]
        distance = np.hypot(rows - click.row, cols - click.col).astype(np.float32)
        near = distance < (60 if click.positive else 25)
        inside = interaction.prompt.full() > 0.5
        wanted = inside & (near if click.positive else ~near)
        probability = np.where(wanted, 0.95 - distance / 400, 0.3 - distance / 600).astype(np.float32)
        box = Box(0, 0, height, width)
        return Prediction(Crop(height, width, box, probability), box)


def _read(entry):
    """Two objects an image, none in every fifth, and every seventh cannot be read."""
    number = entry.annotation
    if number % 7 == 6:
        raise ImageError("unreadable_image", f"{entry.path}: made to fail")
    pixels = np.full((HEIGHT, WIDTH, 3), number, np.uint8)
    first, second = np.zeros((2, HEIGHT, WIDTH), bool)
    first[5:60, 4 + number : 50 + number] = True
    first[20:30, 20 + number : 30 + number] = False
    second[40:88, 70:118] = True
    objects = tuple(
        ObjectMask(instance, category, crop_mask(frame & ~first if instance == 9 else frame, HEIGHT, WIDTH))
        for instance, category, frame in ((2, "cat", first), (9, None, second))
    )
    return ImageRecord(entry.image_id, entry.path, f"{number:064x}", "none", pixels, () if number % 5 == 4 else objects)


def make_dataset():
    """Eight listed images; ``read`` makes them."""
    entries = tuple(ImageEntry(f"im_{n}", f"img/im_{n}.png", 100 + n, n) for n in range(8))
    about = About("toy", "Toy", ("object",), "a licence", "a citation", "a page", (), "")
    return Dataset(about, "val", entries, "f" * 32, _read)


@pytest.fixture(scope="session")
def toy_dataset():
    """The data set of the toy run."""
    return make_dataset()


def make_config():
    """The paper's preset with three images a shard."""
    return validated(override(PRESETS["paper"], {"batch": {"images_per_shard": 3}}))


@pytest.fixture(scope="session")
def toy_config():
    """The configuration of the toy run."""
    return make_config()


@pytest.fixture(scope="session")
def toy_plan(toy_dataset, toy_config):
    """The plan of the toy run."""
    return make_plan(DATABASE_LAYOUT, toy_dataset, MODEL, ENVIRONMENT, toy_config)


def run_shards(dataset, config):
    """The finished shards of three images each, in memory."""
    model, shards = Halver(), []
    for index, start in enumerate(range(0, len(dataset.entries), 3)):
        task = ShardTask(index, dataset.name, dataset.entries[start : start + 3], dataset.read, config)
        shards.append(run_stages(chain(config).stages, task, model))
    return shards


@pytest.fixture(scope="session")
def toy_shards(toy_dataset, toy_config):
    """The finished shards of the toy run."""
    return run_shards(toy_dataset, toy_config)


def write_database(store, plan, shards):
    """Plan and shards, as a run leaves them before it finishes."""
    store.write_json(PLAN, plan)
    for state in shards:
        publish(store, write_shard(state, store, stamp_of(DATABASE_LAYOUT, plan)))


def make_database(folder):
    """A finished toy database in a folder; its store."""
    store, dataset, config = Store(str(folder)), make_dataset(), make_config()
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    write_database(store, plan, run_shards(dataset, config))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    return store


@pytest.fixture
def built(tmp_path, toy_plan, toy_shards):
    """The database on disk, one for every test."""
    store = Store(str(tmp_path / "out" / "database"))
    write_database(store, toy_plan, toy_shards)
    return store
