"""The budget of decoded images of all processes on a machine."""

import pytest

from agg_pipeline.training.image_cache import IMAGE_CACHE_BYTES, cache_share
from agg_pipeline.training.pretrain import PretrainInputs, prepare
from agg_pipeline.training.training_options import TrainingOptions
from schemas.resolve import override
from schemas.training import PretrainConfig, TrainingConfig


@pytest.mark.parametrize(
    ("devices", "loaders", "processes"), [(1, 0, 1), (1, 1, 1), (1, 4, 4), (2, 0, 2), (2, 1, 2), (8, 4, 32)]
)
def test_processes_share_one_budget(devices, loaders, processes):
    share = cache_share(TrainingConfig(devices=devices, loaders=loaders))
    assert share == IMAGE_CACHE_BYTES // processes
    assert share * processes <= IMAGE_CACHE_BYTES


def test_both_trainings_keep_their_share(prepared, tmp_path):
    settings = {"training": {"loaders": 4, "devices": 2, "batch": 2}}
    assert prepared(changes=settings).training.samples.masks.cache_bytes == IMAGE_CACHE_BYTES // 8
    config = override(PretrainConfig(), {"augment": {"size": 32}, **settings})
    inputs = PretrainInputs((("demo", "2", ""),))
    made = prepare(config, inputs, TrainingOptions(tmp_path / "pretrained", validation_masks=0))
    assert made.training.samples.mixture.cache_bytes == IMAGE_CACHE_BYTES // 8
