"""What differs between fine-tuning and pre-training inside the loop: optimiser, schedule, loss and clicks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from agg_pipeline.training.learning_rate import step_decay, warm_up_and_cosine
from schemas.training import FinetuneConfig, PretrainConfig
from stages.finetune import normalised_focal_loss
from stages.pretrain import cross_entropy_and_dice

Loss = Callable[[Tensor, Tensor], Tensor]
"""Loss per image, (B,), from logits and targets, both (B, 1, S, S); a target is 1, 0, or -1 for an ignored pixel."""


class Method(Protocol):
    """How weights are learnt. Epochs count from 0 and have fractions."""

    def optimizer(self, learning: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """Optimiser of the parameters, by name; each group names its highest learning rate, ``highest``."""

    def rate_factor(self, epoch: float) -> float:
        """Factor by which the highest learning rates are multiplied."""

    def loss(self, epoch: float) -> Loss:
        """Loss of a step."""

    def max_rounds(self, epoch: float) -> int:
        """Largest number of rounds of iterative clicks before a step."""

    @property
    def max_norm(self) -> float:
        """Largest norm of the gradient; 0 for no limit."""

    @property
    def order_weight(self) -> float:
        """Weight of the order loss; 0 for none."""


@dataclass(frozen=True)
class Finetuning:
    """Granularity-controllable learning (Section 3.3; protocol, section 5): Adam and the normalised focal loss."""

    config: FinetuneConfig

    def optimizer(self, learning: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """Adam with its usual betas; the granularity vectors may have a rate of their own."""
        table = [value for name, value in learning.items() if name == "adapter.table"]
        rest = [value for name, value in learning.items() if name != "adapter.table"]
        lr = self.config.training.lr
        groups = [{"params": rest, "highest": lr}, {"params": table, "highest": self.config.table_lr or lr}]
        return torch.optim.Adam([each for each in groups if each["params"]], lr=lr)

    def rate_factor(self, epoch: float) -> float:
        """Divided once."""
        return step_decay(epoch, self.config.decay_epoch, self.config.decay)

    def loss(self, _epoch: float) -> Loss:
        """The same in all epochs."""
        return normalised_focal_loss

    def max_rounds(self, _epoch: float) -> int:
        """The same in all epochs."""
        return self.config.training.max_rounds

    @property
    def max_norm(self) -> float:
        """No limit."""
        return 0.0

    @property
    def order_weight(self) -> float:
        """As configured."""
        return self.config.order_weight


@dataclass(frozen=True)
class Pretraining:
    """AdamW with warm-up and cosine; cross-entropy and Dice first, then the normalised focal loss."""

    config: PretrainConfig

    def optimizer(self, learning: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """AdamW; biases, norms and positions have no weight decay."""
        decay = [value for name, value in learning.items() if value.ndim > 1 and not name.endswith("pos_embed")]
        rest = [value for name, value in learning.items() if value.ndim <= 1 or name.endswith("pos_embed")]
        lr = self.config.training.lr
        groups = [
            {"params": decay, "highest": lr, "weight_decay": self.config.weight_decay},
            {"params": rest, "highest": lr, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=lr)

    def rate_factor(self, epoch: float) -> float:
        """Warm-up, then a cosine."""
        return warm_up_and_cosine(epoch, self.config.training.epochs, self.config.warm_up)

    def loss(self, epoch: float) -> Loss:
        """The normalised focal loss from ``focal_epoch`` on."""
        return normalised_focal_loss if epoch >= self.config.focal_epoch else cross_entropy_and_dice

    def max_rounds(self, epoch: float) -> int:
        """No iterative clicks before ``rounds_epoch``: there is no prediction worth correcting yet."""
        return self.config.training.max_rounds if epoch >= self.config.rounds_epoch else 0

    @property
    def max_norm(self) -> float:
        """As configured."""
        return self.config.max_norm

    @property
    def order_weight(self) -> float:
        """There are no granularities yet."""
        return 0.0
