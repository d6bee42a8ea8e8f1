"""A small proposal database with its images on disk, and a training on it that takes seconds."""

import numpy as np
import pytest
from PIL import Image

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.shard_files import PLAN, publish, sidecars
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.proposals.pipeline import chain, write_shard
from agg_pipeline.storage.store import Store
from agg_pipeline.training.finetune import FinetuneInputs, prepare
from agg_pipeline.training.training_folder import TrainingOptions
from schemas.config import ProposalsConfig
from schemas.resolve import override
from schemas.training import FinetuneConfig
from tests.e2e.small_set import labels
from tests.toy_run import ENVIRONMENT, MODEL, Halver

IMAGES = 5


def write_images(root):
    """Photographs in the layout of ``folder``: two objects in each, the last has only one."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(IMAGES):
        instances = np.kron(labels(shift=number), np.ones((2, 2), np.uint8))
        if number == IMAGES - 1:
            instances[instances == 2] = 0
        noise = np.random.default_rng(number).integers(0, 60, (*instances.shape, 3))
        pixels = (60 * instances[..., None] + noise).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"im_{number}.png")
        Image.fromarray(instances).save(root / "masks" / f"im_{number}.png")
    (root / "dataset.toml").write_text('name = "folder"\nlicence = "CC0"\n')
    return root


def write_proposals(out, data):
    """A finished run over the images, by a model of numpy."""
    config = override(ProposalsConfig(), {"batch": {"images_per_shard": 2}, "masks": {"min_area": 50}})
    dataset = open_dataset("folder", str(data), None)
    store = Store(str(out / "database"))
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    store.write_json(PLAN, plan)
    model = Halver()
    for index, start in enumerate(range(0, IMAGES, 2)):
        task = ShardTask(index, "folder", dataset.entries[start : start + 2], dataset.read, config)
        shard = run_stages(chain(config).stages, task, model)
        publish(store, write_shard(shard, store, stamp_of(DATABASE_LAYOUT, plan)))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    return out


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("train") / "data")


@pytest.fixture(scope="session")
def proposals(tmp_path_factory, data):
    return write_proposals(tmp_path_factory.mktemp("train") / "out", data)


@pytest.fixture
def config():
    """Three steps an epoch on 32x32 crops."""
    return override(
        FinetuneConfig(),
        {
            "decay_epoch": 1,
            "augment": {"size": 32, "view": "zoom", "min_area": 1},
            "training": {"epochs": 2, "batch": 2, "lr": 1e-3, "max_rounds": 1, "loaders": 0},
        },
    )


@pytest.fixture
def prepared(proposals, data, config, tmp_path):
    """Prepares a fine-tuning of the built-in model in a folder below ``tmp_path``."""

    def prepare_(name="out", changes=None, say=print, **options):
        inputs = FinetuneInputs((str(proposals),), {"": str(data)}, str(default_checkpoint()))
        chosen = TrainingOptions(tmp_path / name, validation_masks=0, **options)
        return prepare(override(config, changes or {}), inputs, chosen, say)

    return prepare_


class Steps:
    """Remembers the losses; can stop the training at a step as Ctrl-C does."""

    def __init__(self, stop_at=None):
        self.losses = []
        self.stop_at = stop_at

    def __call__(self, done, _network):
        self.losses.append(done.loss)
        if done.step == self.stop_at:
            raise KeyboardInterrupt

    def validate(self, step, network):
        pass

    def close(self):
        pass
