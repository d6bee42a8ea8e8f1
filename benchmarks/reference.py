"""The click model as plainly as the protocol states it (section 1): reference of tests, baseline of timings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agg_pipeline.models.architecture import WINDOW, Architecture
from agg_pipeline.models.simpleclick import CLICK_RADIUS, MEAN, STD, SimpleClick


def reference_disk_maps(clicks: Sequence[tuple[float, float, bool]], height: int, width: int) -> Tensor:
    """Draw click maps by the distance of every pixel to every click.

    Args:
        clicks: (row, col, positive) in pixels; a click with two negative coordinates draws nothing.
        height: rows of the maps.
        width: columns of the maps.

    Returns:
        (2, height, width) float32: positive disks, negative disks.
    """
    rows = torch.arange(height, dtype=torch.float32)[:, None]
    cols = torch.arange(width, dtype=torch.float32)[None, :]
    maps = torch.zeros(2, height, width)
    for channel, sign in enumerate((True, False)):
        for row, col, positive in clicks:
            if positive == sign and (row >= 0 or col >= 0):
                distance = (rows - torch.tensor(row)) ** 2 + (cols - torch.tensor(col)) ** 2
                maps[channel] = torch.maximum(maps[channel], (distance <= CLICK_RADIUS**2).float())
    return maps


def reference_forward(
    arch: Architecture, state: Mapping[str, Tensor], image: Tensor, coords: Tensor, added: Tensor | None = None
) -> Tensor:
    """Compute the network's output.

    Args:
        arch: architecture.
        state: state dict of ``SimpleClick``; its position embedding is that of the input size.
        image: (B, 3, H, W) RGB in [0, 1].
        coords: (B, 3, H, W): mask prompt, positive disks, negative disks.
        added: (B, dim) granularity vectors; None to add nothing.

    Returns:
        (B, 1, H, W) logits.
    """

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride)

    def up(x: Tensor, name: str) -> Tensor:
        return F.conv_transpose2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2)

    def group_norm(x: Tensor, name: str) -> Tensor:
        return F.group_norm(x, 1, state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def layer_norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (arch.dim,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def attention(x: Tensor, name: str) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = linear(x, f"{name}.qkv").reshape(batch, tokens, 3, arch.heads, dim // arch.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (dim // arch.heads) ** -0.5).softmax(dim=-1)
        return linear((weights @ v).transpose(1, 2).reshape(batch, tokens, dim), f"{name}.proj")

    mean, std = (torch.tensor(each, device=image.device).view(3, 1, 1) for each in (MEAN, STD))
    x = conv((image - mean) / std, "backbone.patch_embed.proj", arch.patch)
    x = x + conv(coords, "patch_embed_coords.proj", arch.patch)
    batch, dim, grid, _ = x.shape
    x = x.flatten(2).transpose(1, 2)
    if added is not None:
        x = x + added[:, None]
    x = x + state["backbone.pos_embed"][:, 1:]

    group = 6 if arch.depth == 12 else arch.depth // 4
    side = max(1, grid // (WINDOW // arch.patch))
    inner = grid // side
    for index in range(arch.depth):
        name = f"backbone.blocks.{index}"
        windowed = (index + 1) % group != 0
        if windowed:
            x = x.reshape(batch, side, inner, side, inner, dim).transpose(2, 3)
            x = x.reshape(batch * side * side, inner * inner, dim)
        x = x + attention(layer_norm(x, f"{name}.norm1"), f"{name}.attn")
        x = x + linear(F.gelu(linear(layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
        if windowed:
            x = x.reshape(batch, side, side, inner, inner, dim).transpose(2, 3)
            x = x.reshape(batch, grid * grid, dim)
    x = x.transpose(1, 2).reshape(batch, dim, grid, grid)

    p4 = F.gelu(group_norm(up(x, "neck.down_4.0"), "neck.down_4.1"))
    p4 = group_norm(up(p4, "neck.down_4.3"), "neck.down_4.4")
    p4 = F.gelu(group_norm(conv(p4, "neck.down_4.5"), "neck.down_4.6"))
    p8 = group_norm(up(x, "neck.down_8.0"), "neck.down_8.1")
    p8 = F.gelu(group_norm(conv(p8, "neck.down_8.2"), "neck.down_8.3"))
    p16 = F.gelu(group_norm(conv(x, "neck.down_16.0"), "neck.down_16.1"))
    p32 = group_norm(conv(x, "neck.down_32.0", stride=2), "neck.down_32.1")
    p32 = F.gelu(group_norm(conv(p32, "neck.down_32.2"), "neck.down_32.3"))

    scales = []
    for index, feature in enumerate((p4, p8, p16, p32)):
        feature = F.relu(conv(feature, f"head.convs.{index}.conv"))
        scales.append(F.interpolate(feature, size=p4.shape[2:], mode="bilinear", align_corners=False))
    logits = conv(F.relu(conv(torch.cat(scales, dim=1), "head.fusion_conv.conv")), "head.conv_seg")
    return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True)


class PlainNetwork(nn.Module):
    """The reference network, with the weights of a model, which is on its device already."""

    def __init__(self, model: SimpleClick) -> None:
        super().__init__()
        self.model = model
        self.input_size = model.input_size
        self._state = model.state_dict()

    def forward(self, image: Tensor, coords: Tensor, _rows: Tensor | None) -> Tensor:
        """Logits (B, 1, H, W)."""
        return reference_forward(self.model.arch, self._state, image, coords)
