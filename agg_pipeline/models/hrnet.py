"""HRNet (Wang et al. 2019) with object-contextual representations (OCR, Yuan et al. 2020), as RITM uses both.

Four branches at 1/4, 1/8, 1/16 and 1/32 of the input run side by side and exchange what they find. The names of the
modules are those of the keys in published files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM = 64
"""Channels of the first two convolutions."""
EXPANDED = 256
"""Channels behind the stem's bottleneck blocks."""


@dataclass(frozen=True)
class HRNetSizes:
    """Sizes of a network.

    Attributes:
        width: channels of the branch at 1/4; every further branch has twice as many.
        ocr_width: channels of the object's description; pixels have twice as many.
        blocks: residual blocks per branch of a module, and in the stem.
        modules: modules of the stages with two, three and four branches.
    """

    width: int
    ocr_width: int
    blocks: int = 4
    modules: tuple[int, int, int] = (1, 4, 3)


class Outputs(NamedTuple):
    """Logits at 1/4 of the input, (B, 1, ceil(H / 4), ceil(W / 4)).

    Attributes:
        main: of the head behind OCR.
        auxiliary: of the head before it, whose foreground OCR gathers.
    """

    main: Tensor
    auxiliary: Tensor


def resize_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps bilinearly with aligned corners.

    Args:
        x: (B, C, h, w).
        size: rows and columns of the result.

    Returns:
        (B, C, rows, columns).
    """
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=bias)


def _conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1, relu: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [_conv(c_in, c_out, kernel, stride), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions: (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 3)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(inner)).add_(x), inplace=True)


class Bottleneck(nn.Module):
    """Residual block of the stem, 1x1, 3x3 and 1x1: (B, c_in, H, W) to (B, 256, H, W)."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.conv1 = _conv(c_in, STEM, 1)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = _conv(STEM, STEM, 3)
        self.bn2 = nn.BatchNorm2d(STEM)
        self.conv3 = _conv(STEM, EXPANDED, 1)
        self.bn3 = nn.BatchNorm2d(EXPANDED)
        self.downsample = None if c_in == EXPANDED else _conv_norm(c_in, EXPANDED, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        inner = F.relu(self.bn2(self.conv2(inner)), inplace=True)
        kept = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(inner)).add_(kept), inplace=True)


class Exchange(nn.Module):
    """Module of a stage: residual blocks on every branch, then each branch adds up what the others have found.

    ``forward`` takes and returns maps (B, C_i, H_i, W_i), one per branch.

    Args:
        channels: of the branches.
        blocks: residual blocks per branch.
    """

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c) for _ in range(blocks))) for c in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._fused(maps, target) for target in range(len(maps))]

    def _fused(self, maps: list[Tensor], target: int) -> Tensor:
        size = maps[target].shape[2:]
        total: Tensor | None = None
        for source, x in enumerate(maps):
            part = self.fuse_layers[target].get_submodule(str(source))(x)
            part = resize_to(part, size) if source > target else part
            total = part if total is None else total + part
        assert total is not None
        return F.relu(total)


def _fuse(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """What brings a branch to the channels of another one, and to its resolution if that is lower."""
    if source == target:
        return nn.Identity()
    if source > target:
        return _conv_norm(channels[source], channels[target], 1)
    halvings = target - source
    own = channels[source]
    steps = [_conv_norm(own, own, 3, 2, relu=True) for _ in range(halvings - 1)]
    return nn.Sequential(*steps, _conv_norm(own, channels[target], 3, 2))


class ObjectContext(nn.Module):
    """Attention of pixels to the descriptions of regions; here, of the one region that is the object.

    With one region, the softmax over regions is 1 at every pixel, so a pixel's context is the region's value:
    ``f_pixel`` and ``f_object``, which files have, change nothing and are not computed.

    Args:
        width: channels of queries, keys and values; pixels and regions have twice as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.f_pixel = _pointwise(2 * width, width, width)
        self.f_object = _pointwise(2 * width, width, width)
        self.f_down = _pointwise(2 * width, width)
        self.f_up = _pointwise(width, 2 * width)

    def forward(self, region: Tensor) -> Tensor:
        """The context of all pixels, (B, 2 width, 1, 1).

        Args:
            region: description of the object, (B, 2 width, 1, 1).
        """
        context: Tensor = self.f_up(self.f_down(region))
        return context


class ObjectHead(nn.Module):
    """Pixels with the context of the object: (B, 2 width, H, W) to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.object_context_block = ObjectContext(width)
        self.conv_bn_dropout = _pointwise(4 * width, 2 * width)

    def forward(self, pixels: Tensor, region: Tensor) -> Tensor:
        context = self.object_context_block(region).expand_as(pixels)
        joined: Tensor = self.conv_bn_dropout(torch.cat([context, pixels], 1))
        return joined


def _pointwise(*channels: int) -> nn.Sequential:
    """1x1 convolutions, each with a norm and ReLU behind it, nested as in published files."""
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(channels):
        layers += [_conv(c_in, c_out, 1), nn.Sequential(nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers)


class HRNet(nn.Module):
    """Backbone and OCR head.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: HRNetSizes) -> None:
        super().__init__()
        channels = [sizes.width << branch for branch in range(4)]
        self.conv1 = _conv(3, STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = _conv(STEM, STEM, 3, 2)
        self.bn2 = nn.BatchNorm2d(STEM)
        self.layer1 = nn.Sequential(*(Bottleneck(EXPANDED if n else STEM) for n in range(sizes.blocks)))
        self.transition1 = nn.ModuleList(
            [
                _conv_norm(EXPANDED, channels[0], 3, relu=True),
                nn.Sequential(_conv_norm(EXPANDED, channels[1], 3, 2, relu=True)),
            ]
        )
        self.transition2 = _new_branch(channels, 2)
        self.transition3 = _new_branch(channels, 3)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(*(Exchange(channels[:branches], sizes.blocks) for _ in range(count)))
            for branches, count in zip((2, 3, 4), sizes.modules, strict=True)
        )
        total, pixel = sum(channels), 2 * sizes.ocr_width
        self.conv3x3_ocr = nn.Sequential(_conv(total, pixel, 3, bias=True), nn.BatchNorm2d(pixel), nn.ReLU(True))
        self.ocr_distri_head = ObjectHead(sizes.ocr_width)
        self.cls_head = _conv(pixel, 1, 1, bias=True)
        self.aux_head = nn.Sequential(
            _conv(total, total, 1, bias=True), nn.BatchNorm2d(total), nn.ReLU(True), _conv(total, 1, 1, bias=True)
        )

    def forward(self, image: Tensor, added: Tensor) -> Outputs:
        """Predict the foreground.

        Args:
            image: (B, 3, H, W), normalised.
            added: what is added behind the first convolution, (B, 64, ceil(H / 2), ceil(W / 2)).
        """
        features = self._features(image, added)
        auxiliary = self.aux_head(features)
        pixels = self.conv3x3_ocr(features)
        main = self.cls_head(self.ocr_distri_head(pixels, _gathered(pixels, auxiliary)))
        return Outputs(main, auxiliary)

    def _features(self, image: Tensor, added: Tensor) -> Tensor:
        """All branches at 1/4, (B, 15 width, ceil(H / 4), ceil(W / 4))."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True) + added
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.layer1(x)
        maps = self.stage2([transition(x) for transition in self.transition1])
        maps = self.stage3([*maps, self.transition2[-1](maps[-1])])
        maps = self.stage4([*maps, self.transition3[-1](maps[-1])])
        size = maps[0].shape[2:]
        return torch.cat([maps[0], *(resize_to(each, size) for each in maps[1:])], 1)


def _new_branch(channels: Sequence[int], number: int) -> nn.ModuleList:
    """What makes a further branch of the last one. The branches before it go on as they are."""
    made = nn.Sequential(_conv_norm(channels[number - 1], channels[number], 3, 2, relu=True))
    return nn.ModuleList([*(nn.Identity() for _ in range(number)), made])


def _gathered(pixels: Tensor, logits: Tensor) -> Tensor:
    """The object's description: the mean of its pixels, weighted by a softmax over the image, (B, C, 1, 1)."""
    shares = logits.flatten(2).softmax(2)
    return torch.matmul(pixels.flatten(2), shares.transpose(1, 2)).unsqueeze(3)
