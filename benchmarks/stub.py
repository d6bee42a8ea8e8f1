"""A network that costs next to nothing, and photographs for the pipeline."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.io import savemat
from torch import nn

from agg_pipeline.demo import render
from agg_pipeline.inference.predictor import Predictor
from schemas.config import PredictorConfig

SEED = 7
"""Seed of the photographs."""


class StubNetwork(nn.Module):
    """Cuts a square around every negative click out of the mask prompt: gives masks of all sizes at almost no cost."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.cpu_seconds = 0.0
        # It says where the network is.
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, _image: torch.Tensor, coords: torch.Tensor, _bins: torch.Tensor | None) -> torch.Tensor:
        """Logits (B, 1, H, W) from the coordinate channels (B, 3, H, W)."""
        started = time.process_time()
        small = F.avg_pool2d(coords, 8)
        cut = F.max_pool2d(small[:, 2:], 7, stride=1, padding=3)
        logits = F.interpolate(8 * (small[:, :1] - cut) - 4, scale_factor=8, mode="bilinear")
        self.cpu_seconds += time.process_time() - started
        return logits


def stub_predictor(network: StubNetwork) -> Predictor:
    """The real predictor around the stub network."""
    return Predictor(network, PredictorConfig())  # type: ignore[arg-type]


def write_sbd(root: Path, images: int, height: int = 375, width: int = 500) -> None:
    """Write demo scenes as JPEG photographs of one size, in the layout of SBD, split ``train``.

    Args:
        root: root folder to create.
        images: number of photographs.
        height: rows, pixels.
        width: columns, pixels.
    """
    for folder in ("img", "inst"):
        (root / folder).mkdir(parents=True)
    names = []
    for number in range(images):
        scene = render(SEED, number)
        labels = np.zeros(scene.pixels.shape[:2], np.uint8)
        for instance in scene.objects:
            labels[instance.mask.full()] = instance.instance_id
        pixels = cv2.resize(scene.pixels, (width, height), interpolation=cv2.INTER_AREA)
        resized = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        name = f"image_{number:05d}"
        Image.fromarray(pixels).save(root / "img" / f"{name}.jpg", quality=92)
        savemat(root / "inst" / f"{name}.mat", {"GTinst": {"Segmentation": resized}}, do_compression=True)
        names.append(name)
    (root / "train.txt").write_text("\n".join(names) + "\n")
