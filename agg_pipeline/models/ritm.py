"""RITM's iterative models (Sofiiuk et al. 2021): the network around HRNet, and its published files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agg_pipeline.models.adapter import Shape, as_float32, check_shapes
from agg_pipeline.models.hrnet import STEM, HRNet, HRNetSizes, Outputs, resize_to
from agg_pipeline.models.simpleclick import MEAN, STD
from agg_pipeline.models.tensor_files import TensorFile, open_tensors
from agg_pipeline.storage.user_path import user_path
from schemas.errors import UserError
from schemas.words import excerpt

VARIANTS = {
    "hrnet18s": HRNetSizes(18, 48, blocks=2, modules=(1, 3, 2)),
    "hrnet18": HRNetSizes(18, 64),
    "hrnet32": HRNetSizes(32, 128),
}
"""Published networks by their names."""
SETTINGS = {
    "use_disks": True,
    "norm_radius": 5,
    "with_prev_mask": True,
    "binary_prev_mask": False,
    "use_leaky_relu": True,
}
"""Settings of published files; with other values, the network would be another one."""
UNUSED = ".num_batches_tracked"
"""Ending of the keys of counters that only training uses."""
SLOPE = 0.2
"""Of leaky ReLU below 0."""


class Scale(nn.Module):
    """A learnt factor, whose sign is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.abs()


class Ritm(nn.Module):
    """The click model; its key names are those of published files.

    Args:
        sizes: of its HRNet.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, sizes: HRNetSizes) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.feature_extractor = HRNet(sizes)
        self.maps_transform = nn.Sequential(
            nn.Conv2d(3, 16, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(16, STEM, 3, 2, 1), Scale()
        )

    def forward(self, image: Tensor, coords: Tensor) -> Outputs:
        """Predict the foreground of images of any size.

        Args:
            image: (B, 3, H, W) float, RGB in [0, 1].
            coords: (B, 3, H, W) float: previous mask (probability), positive disks, negative disks.

        Returns:
            Logits, (B, 1, H, W); the main ones are the prediction.
        """
        found = self.feature_extractor((image - self.mean) / self.std, self.maps_transform(coords))
        return Outputs(*(resize_to(each, image.shape[2:]) for each in found))


class LoadedRitm(NamedTuple):
    """A network and what it was loaded from.

    Attributes:
        network: float32, on the CPU, in evaluation mode.
        variant: one of ``VARIANTS``.
        sha256: of the file, hex.
    """

    network: Ritm
    variant: str
    sha256: str


def load_ritm(path: str | Path) -> LoadedRitm:
    """Load a network from a published ``.pth``, or from safetensors with the same keys.

    Nothing in the file runs, and the shapes of its tensors are checked before the numbers are read.

    Args:
        path: of the file; ``~`` is the home folder.

    Raises:
        UserError: the file cannot be used.
    """
    path = user_path(path)
    with open_tensors(path) as file:
        shapes = {name: shape for name, shape in file.shapes.items() if not name.endswith(UNUSED)}
        try:
            variant = _described(shapes, file)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        state = file.read(shapes)
        sha256 = file.sha256()
    try:
        state = as_float32(state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    network = Ritm(VARIANTS[variant])
    # The keys have been compared. The counters of training are left out.
    network.load_state_dict(state, strict=False)
    return LoadedRitm(network.eval(), variant, sha256)


def _described(shapes: Mapping[str, Shape], file: TensorFile) -> str:
    """The variant whose tensors a file holds; UserError if it is none."""
    variant = _nearest_variant(shapes)
    with torch.device("meta"):
        state = Ritm(VARIANTS[variant]).state_dict()
    expected = {name: tuple(value.shape) for name, value in state.items() if not name.endswith(UNUSED)}
    check_shapes(shapes, expected, f"RITM {variant}")
    for name, value in SETTINGS.items():
        if file.settings.get(name, value) != value:
            raise UserError(
                f"made with {name} = {excerpt(repr(file.settings[name]))}; only {value!r} is supported for RITM models"
            )
    return variant


def _nearest_variant(shapes: Mapping[str, Shape]) -> str:
    """The variant that shares most of width, OCR width and depth with the tensors."""
    width = shapes.get("feature_extractor.transition1.0.0.weight", (0,))[:1]
    ocr = shapes.get("feature_extractor.cls_head.weight", (0, 0))[1:2]
    blocks = sum(name.startswith("feature_extractor.layer1.") and name.endswith(".conv1.weight") for name in shapes)
    return max(
        VARIANTS,
        key=lambda name: (
            (VARIANTS[name].width,) == width,
            (2 * VARIANTS[name].ocr_width,) == ocr,
            VARIANTS[name].blocks == blocks,
        ),
    )
