"""The predictor: batches of interactions over different images through the click model (protocol, section 2)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from agg_pipeline.models.adapter import granularity_bin
from agg_pipeline.models.checkpoints import load_click_model
from agg_pipeline.models.simpleclick import SimpleClick, disk_maps
from agg_pipeline.roi import next_roi
from schemas.config import PredictorConfig
from schemas.crop import Box, Crop
from schemas.errors import UserError
from schemas.records import Interaction, Prediction


class Predictor:
    """A network with zoom-in, optional flip averaging and paste-back; the ``ClickModel`` that stages are given.

    forward_seconds: time spent in the network since the start; forwards: (image, clicks) pairs sent through it.
    """

    def __init__(self, network: SimpleClick, config: PredictorConfig) -> None:
        self.config = config
        self.device = torch.device(config.device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.size = network.input_size
        self.forward_seconds = 0.0
        self.forwards = 0

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """Foreground probability of each interaction, in order; see ``Prediction``.

        Interactions may be of different images and sizes. Nothing is kept between calls: the state of an interaction
        (prompt, focus, region of interest) travels with it.
        """
        if not interactions:
            return []
        rois = [next_roi(interaction) for interaction in interactions]
        inputs = [self._input(interaction, roi) for interaction, roi in zip(interactions, rois, strict=True)]
        image, prompt, disks = (torch.stack(tensors).to(self.device) for tensors in zip(*inputs, strict=True))
        bins = _bins(interactions, self.device)
        logits = self._forward(image, torch.cat([prompt, disks[:, 0]], dim=1), bins)
        if self.config.flip:
            coords = torch.cat([prompt.flip(3), disks[:, 1]], dim=1)
            logits = 0.5 * (logits + self._forward(image.flip(3), coords, bins).flip(3))
        probabilities = torch.sigmoid(logits)
        return [
            Prediction(_pasted(probability, roi, interaction.image), roi)
            for probability, roi, interaction in zip(probabilities, rois, interactions, strict=True)
        ]

    def _input(self, interaction: Interaction, roi: Box) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The region resized to S x S: image (3, S, S) in [0, 1], prompt (1, S, S), and the click disks of the input
        and of its mirror image (2, 2, S, S)."""
        height, width = interaction.image.shape[:2]
        crop = interaction.image[roi.top : roi.bottom + 1, roi.left : roi.right + 1]
        image = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).float().div_(255.0)
        prompt = interaction.prompt
        if prompt is not None and (prompt.height, prompt.width) != (height, width):
            raise ValueError(f"a prompt of {prompt.height}x{prompt.width} for an image of {height}x{width}")
        side = (self.size, self.size)
        if prompt is None:
            mask = torch.zeros(1, *side)
        else:
            mask = _resized(torch.from_numpy(prompt.window(roi).astype(np.float32))[None], side)
        clicks = [
            (
                self.size * (click.row - roi.top) / roi.height,
                self.size * (click.col - roi.left) / roi.width,
                click.positive,
            )
            for click in interaction.clicks
        ]
        disks = [disk_maps(clicks, *side)]
        if self.config.flip:
            disks.append(disk_maps([(row, self.size - 1 - col, positive) for row, col, positive in clicks], *side))
        return _resized(image, side), mask, torch.stack(disks)

    def _forward(self, image: torch.Tensor, coords: torch.Tensor, bins: torch.Tensor | None) -> torch.Tensor:
        started = time.perf_counter()
        half = self.config.dtype == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits: torch.Tensor = self.network(image, coords, bins).float()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.forward_seconds += time.perf_counter() - started
        self.forwards += len(image)
        return logits


def open_predictor(checkpoint: str, sha256: str, config: PredictorConfig) -> Predictor:
    """The predictor of a checkpoint file; UserError if the file is not the one with this sha256 (hex)."""
    network, info = load_click_model(checkpoint, config.input_size or None)
    if info.sha256 != sha256:
        raise UserError(f"{checkpoint} is another file here than where the run was started (sha256 {info.sha256})")
    return Predictor(network, config)


def _bins(interactions: Sequence[Interaction], device: torch.device) -> torch.Tensor | None:
    """Granularity bin of each interaction, None if no interaction has a granularity."""
    if all(interaction.granularity is None for interaction in interactions):
        return None
    return torch.tensor([granularity_bin(interaction.granularity) for interaction in interactions], device=device)


def _resized(array: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear resize of a (C, h, w) tensor with aligned corners."""
    resized: torch.Tensor = F.interpolate(array[None], size=size, mode="bilinear", align_corners=True)
    return resized[0]


def _pasted(probability: torch.Tensor, roi: Box, image: NDArray[np.uint8]) -> Crop[np.float32]:
    """The (1, S, S) probability resized to the region, as a crop of the image's frame."""
    values = _resized(probability, (roi.height, roi.width))[0].cpu().numpy()
    return Crop(image.shape[0], image.shape[1], roi, values)
