"""RITM as a click model: zoom-in and averaging as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agg_pipeline.inference.network_inputs import InputClick, input_clicks, input_image, input_mask
from agg_pipeline.inference.region_of_interest import foreground_box, next_roi
from agg_pipeline.inference.resizing import resized
from agg_pipeline.models.backend import gpu_is_full
from agg_pipeline.models.other_models import PATH, MapAndRegion, ModelFacts, check_arguments, number_argument
from agg_pipeline.models.ritm import Ritm, load_ritm
from agg_pipeline.models.simpleclick import draw_disks
from schemas.crop import Box
from schemas.errors import UserError
from schemas.records import Interaction
from schemas.words import excerpt

SIZE = 400
"""Longer side of a resized region, in pixels, as published for all data sets but DAVIS (600)."""
SMALLEST_SIZE, LARGEST_SIZE = 32, 4096
WHOLE_CLICKS = 1
"""Clicks up to which the network sees the whole image."""
FLIPS = {"true": True, "false": False}


def ritm_region(interaction: Interaction) -> Box | None:
    """The region of the image that the next prediction is made on.

    Args:
        interaction: its ``focus`` is the last prediction's foreground, ``roi`` the region chosen last.

    Returns:
        A box inside the image. None for the whole image at its own size: up to the first click, and while nothing is
        predicted.
    """
    if len(interaction.clicks) <= WHOLE_CLICKS or foreground_box(interaction.focus) is None:
        return None
    return next_roi(interaction)


class RitmPredictor:
    """A network with zoom-in, optional averaging with the mirrored image, and paste-back.

    Images have different sizes, so each goes through the network by itself.

    Args:
        network: on the device that computes.
        facts: what the model says of itself.
        size: longer side of a resized region, in pixels.
        flip: whether logits are averaged with those of the mirrored image.
        name: of the model, for messages.

    Attributes:
        facts: what the model says of itself.
    """

    def __init__(self, network: Ritm, facts: ModelFacts, size: int = SIZE, flip: bool = True, name: str = "") -> None:
        self.facts = facts
        self._network = network.eval()
        self._device = network.mean.device
        self._size = size
        self._flip = flip
        self._name = name

    def predict(self, interactions: Sequence[Interaction]) -> list[MapAndRegion]:
        """Predict the foreground of interactions over images of any size.

        Args:
            interactions: with their clicks and the state that earlier predictions left.

        Returns:
            Probabilities per interaction, 0 outside its region. Its region is the one chosen last: it stays while
            nothing is predicted, although the network then sees the whole image.

        Raises:
            UserError: the network gives values that are not finite, or the GPU has too little memory.
        """
        return [self._one(interaction) for interaction in interactions]

    def _one(self, interaction: Interaction) -> MapAndRegion:
        height, width = interaction.image.shape[:2]
        region = ritm_region(interaction)
        if region is None:
            whole = Box(0, 0, height, width)
            return MapAndRegion(self._probabilities(interaction, whole, height, width), interaction.roi)
        scale = self._size / max(region.height, region.width)
        rows, cols = max(1, round(region.height * scale)), max(1, round(region.width * scale))
        found = np.zeros((height, width), np.float32)
        inside = self._probabilities(interaction, region, rows, cols)
        found[region.slices] = resized(inside, region.height, region.width)
        return MapAndRegion(found, region)

    def _probabilities(self, interaction: Interaction, box: Box, rows: int, cols: int) -> NDArray[np.float32]:
        """Probabilities of a box that the network sees at (rows, cols)."""
        image = torch.from_numpy(input_image(interaction.image, box, rows, cols))
        last = input_mask(interaction.prompt, box, rows, cols)
        clicks = input_clicks(interaction.clicks, box, rows, cols)
        images, coords = [image], [_coords(last, clicks)]
        if self._flip:
            mirrored = [(row, cols - 1 - col, positive) for row, col, positive in clicks]
            images.append(image.flip(2))
            coords.append(_coords(last[:, ::-1], mirrored))
        try:
            logits = self._logits(images, coords)
        except RuntimeError as error:
            if not gpu_is_full(error):
                raise
            raise UserError(
                f"the GPU has too little memory for {self._name} and an image of {rows} x {cols}; use fewer "
                f"--workers-per-gpu, or --device cpu ({str(error).splitlines()[0]})"
            ) from None
        mean = logits[0] if len(logits) == 1 else 0.5 * (logits[0] + logits[1].flip(1))
        if not mean.isfinite().all():
            raise UserError(
                f"{self._name} gives values that are not finite, because some of its weights are far too large; "
                "use another file"
            )
        return mean.sigmoid().cpu().numpy()

    def _logits(self, images: Sequence[Tensor], coords: Sequence[Tensor]) -> list[Tensor]:
        """Logits (rows, cols) of images of one size."""
        image, maps = torch.stack([*images]).to(self._device), torch.stack([*coords]).to(self._device)
        with torch.inference_mode():
            if self._device.type != "cpu":
                return [*self._network(image, maps).main.float()[:, 0]]
            # One by one, a CPU takes as long, and less memory.
            return [self._network(image[n : n + 1], maps[n : n + 1]).main[0, 0] for n in range(len(image))]


def _coords(last: NDArray[np.float32], clicks: Sequence[InputClick]) -> Tensor:
    """Previous mask, positive and negative disks, (3, rows, cols)."""
    coords = np.zeros((3, *last.shape), np.float32)
    coords[0] = last
    draw_disks(coords[1:], clicks)
    return torch.from_numpy(coords)


def ritm(arguments: Mapping[str, str], device: str) -> RitmPredictor:
    """An iterative model of RITM (Sofiiuk et al. 2021) from its published file.

    Args:
        arguments: the path of the file; ``size``, the longer side of regions in pixels; ``flip``, true or false.
        device: where it computes.

    Raises:
        UserError: an argument or the file cannot be used.
    """
    check_arguments(arguments, (PATH, "flip", "size"), "ritm")
    if PATH not in arguments:
        raise UserError("model ritm needs the path of its file: ritm:PATH")
    size = int(number_argument(arguments, "size", SIZE, SMALLEST_SIZE, LARGEST_SIZE))
    flip = arguments.get("flip", "true")
    if flip not in FLIPS:
        raise UserError(f"flip={excerpt(flip)} is neither true nor false")
    path = arguments[PATH]
    loaded = load_ritm(path)
    facts = ModelFacts(
        f"ritm-{loaded.variant}",
        sha256=loaded.sha256,
        input_size=size,
        parameters=sum(each.numel() for each in loaded.network.parameters()),
        settings={"size": size, "flip": flip},
    )
    return RitmPredictor(loaded.network.to(device), facts, size, FLIPS[flip], excerpt(path))
