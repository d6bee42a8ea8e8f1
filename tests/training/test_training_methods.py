"""Optimiser, schedule, loss and clicks of fine-tuning and pre-training."""

import pytest

from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import new_click_model
from agg_pipeline.training.training_methods import Finetuning, Pretraining
from schemas.resolve import override
from schemas.training import FinetuneConfig, PretrainConfig
from stages.finetune import normalised_focal_loss
from stages.pretrain import cross_entropy_and_dice


def test_fine_tuning_takes_its_schedule_from_the_configuration():
    method = Finetuning(override(FinetuneConfig(), {"decay_epoch": 3, "decay": 0.25, "training": {"max_rounds": 2}}))
    assert [method.rate_factor(epoch) for epoch in (0.0, 2.99, 3.0, 9.0)] == [1.0, 1.0, 0.25, 0.25]
    assert (method.loss(0.0), method.max_rounds(9.0), method.max_norm) == (normalised_focal_loss, 2, 0.0)
    assert method.order_weight == 0.0 and Finetuning(FinetuneConfig(order_weight=0.5)).order_weight == 0.5


def test_pre_training_takes_its_schedule_from_the_configuration():
    config = override(PretrainConfig(), {"warm_up": 2.0, "max_norm": 0.5, "training": {"epochs": 10}})
    method = Pretraining(config)
    factors = [method.rate_factor(epoch) for epoch in (0.0, 1.0, 2.0, 6.0, 10.0)]
    assert factors == pytest.approx([0.01, 0.505, 1.0, 0.505, 0.01])
    assert method.max_norm == 0.5 and method.order_weight == 0.0


def test_loss_and_clicks_change_at_their_epochs():
    settings = {"focal_epoch": 3.0, "rounds_epoch": 2.0, "training": {"max_rounds": 2}}
    method = Pretraining(override(PretrainConfig(), settings))
    epochs = (0.0, 1.99, 2.0, 2.99, 3.0, 9.0)
    assert [method.max_rounds(epoch) for epoch in epochs] == [0, 0, 2, 2, 2, 2]
    assert [method.loss(epoch) for epoch in epochs] == 4 * [cross_entropy_and_dice] + 2 * [normalised_focal_loss]


def test_only_matrices_decay():
    model = new_click_model(ARCHITECTURES["xtiny"], 32, 0)
    learning = dict(model.named_parameters())
    optimizer = Pretraining(PretrainConfig()).optimizer(learning)
    names = {id(value): name for name, value in learning.items()}
    decay, rest = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert decay | rest == set(learning)
    assert {"backbone.pos_embed", "backbone.blocks.0.norm1.weight", "head.fusion_conv.conv.bias"} <= rest
    assert not any(name.endswith(("bias", "pos_embed")) for name in decay)
