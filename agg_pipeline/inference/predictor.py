"""The predictor: batches of interactions over different images through the click model (protocol, section 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agg_pipeline.inference.network_inputs import InputClick, input_clicks, input_image, input_mask
from agg_pipeline.inference.region_of_interest import next_roi
from agg_pipeline.inference.resizing import ResizedMap
from agg_pipeline.models.adapter import table_row
from agg_pipeline.models.backend import choose_device, gpu_is_full, set_backend_flags
from agg_pipeline.models.model_files import ModelFiles, load_model_files
from agg_pipeline.models.simpleclick import SimpleClick, draw_disks, merge_lora
from agg_pipeline.storage.recent import Recent
from schemas.config import PredictorConfig
from schemas.crop import Box, Crop, MaskCrop, ProbabilityMap, common
from schemas.errors import UserError
from schemas.records import Interaction, Prediction

LARGE = 1 << 24
"""Probability maps of more pixels are resized by every use: kept, those of a batch could take gigabytes."""
KEPT_BYTES = 128 << 20
"""Memory for the resized regions, and the images that they were cut from, that a worker keeps."""


class _Region(NamedTuple):
    """A resized region; the array that it was cut from is kept with it, so that the array's id stays its own."""

    source: object
    values: Tensor
    nbytes: int


class Predictor:
    """A click model for stages: a network with zoom-in, optional averaging with the mirrored image, and paste-back.

    A predictor is for one thread. Several predictors may share a network: making one costs next to nothing.

    Args:
        network: on the device that computes; it is set to evaluation mode.
        config: how to predict; its device is not looked at.
        kept_bytes: size of the resized regions that are kept for later calls, with the images they were cut from.
        name: of the model, for messages, such as its file.

    Attributes:
        one_forward: whether an image and its mirror go through the network together.
        forward_seconds: time spent so far in the network, with the copies to and from its device.
        forwards: (image, clicks) pairs sent through the network so far.
        splits: how often a batch was split so far, because the GPU had too little memory for it.
        parameters: number of the network's weights.
    """

    def __init__(
        self, network: SimpleClick, config: PredictorConfig, kept_bytes: int = KEPT_BYTES, name: str = "the model"
    ) -> None:
        self.config = config
        self.name = name
        self.network = network.eval()
        self.device = next(network.parameters()).device
        self.size = network.input_size
        # A GPU takes hardly longer for a small batch that is twice as large. A CPU takes twice as long, and its results
        # would depend on it.
        self.one_forward = self.device.type != "cpu"
        self.forward_seconds = 0.0
        self.forwards = 0
        self.splits = 0
        self.parameters = sum(weights.numel() for weights in network.parameters())
        # Interactions that the GPU has memory for at a time; None while it has had enough.
        self._most: int | None = None
        # An object's steps and its proposals look at the same regions again and again.
        self._regions: Recent[tuple[int, Box], _Region] = Recent(kept_bytes, attrgetter("nbytes"))

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """Predict the foreground of interactions over images of any size, with one forward for all of them.

        If the GPU has too little memory for that, they are split, also in later calls.

        Args:
            interactions: their state (prompt, focus, region of interest) comes with them. Images and masks as prompts
                are known by identity: they must not be changed in place while the predictor is used.

        Returns:
            One prediction per interaction, in order.

        Raises:
            ValueError: a prompt has another size than its image.
            UserError: the network gives values that are not finite: its weights are finite, but far too large. Or the
                GPU has too little memory for one interaction.
        """
        predictions: list[Prediction] = []
        while len(predictions) < len(interactions):
            part = interactions[len(predictions) :][: self._most]
            found = self._predict_if_it_fits(part)
            if found is None:
                self._most = len(part) // 2
                self.splits += 1
                # Not before: the error held the batch. Other workers of this GPU need its memory.
                torch.cuda.empty_cache()
            else:
                predictions += found
        return predictions

    def _predict_if_it_fits(self, interactions: Sequence[Interaction]) -> list[Prediction] | None:
        """What ``_predict`` does; None if the GPU has too little memory for several interactions at a time."""
        try:
            return self._predict(interactions)
        except RuntimeError as error:
            if not gpu_is_full(error):
                raise
            if len(interactions) == 1:
                raise UserError(
                    f"the GPU has too little memory for {self.name}; use fewer --workers-per-gpu, a smaller "
                    f"--input-size, or --device cpu ({str(error).splitlines()[0]})"
                ) from None
            return None

    def _predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """What ``predict`` does, for at least one interaction."""
        rois = [next_roi(interaction) for interaction in interactions]
        pairs = list(zip(interactions, rois, strict=True))
        image = torch.stack([self._image(interaction, roi) for interaction, roi in pairs])
        prompts = torch.stack([self._prompt(interaction, roi) for interaction, roi in pairs])
        clicks = [input_clicks(interaction.clicks, roi, self.size, self.size) for interaction, roi in pairs]
        coords = [_coords(prompts, clicks)]
        if self.config.flip:
            mirrored = [[(row, self.size - 1 - col, positive) for row, col, positive in own] for own in clicks]
            coords.append(_coords(prompts.flip(2), mirrored))
        probabilities = self._probabilities(image, coords, _rows(interactions, self.config))
        if np.isnan(probabilities).any():
            raise UserError(
                f"{self.name} gives values that are not finite, because some of its weights are far too large; "
                "train it again or use another file"
            )
        return [
            Prediction(_pasted(probability, roi, interaction), roi)
            for probability, (interaction, roi) in zip(probabilities, pairs, strict=True)
        ]

    def _image(self, interaction: Interaction, roi: Box) -> Tensor:
        """The image's region resized to (3, S, S), in [0, 1]."""

        def resize() -> Tensor:
            return torch.from_numpy(input_image(interaction.image, roi, self.size, self.size))

        return self._region(interaction.image, interaction.image.nbytes, roi, resize)

    def _prompt(self, interaction: Interaction, roi: Box) -> Tensor:
        """The mask prompt's region resized to (S, S); zeros without a prompt."""
        prompt = interaction.prompt
        if prompt is None:
            return torch.zeros(self.size, self.size)
        if (prompt.height, prompt.width) != interaction.image.shape[:2]:
            raise ValueError(f"a prompt of {prompt.height}x{prompt.width} for an image of {interaction.image.shape}")

        def resize() -> Tensor:
            return torch.from_numpy(input_mask(prompt, roi, self.size, self.size))

        # A probability map is the prompt of one step only, an object's mask that of all its proposals.
        if not isinstance(prompt, MaskCrop):
            return resize()
        return self._region(prompt, prompt.nbytes, roi, resize)

    def _region(self, source: object, size: int, roi: Box, resize: Callable[[], Tensor]) -> Tensor:
        """The region of an image or a prompt of ``size`` bytes, resized if it is not kept."""

        def make() -> _Region:
            values = resize()
            return _Region(source, values, values.nbytes + size)

        return self._regions.get((id(source), roi), make).values

    def _probabilities(self, image: Tensor, coords: Sequence[Tensor], rows: Tensor | None) -> NDArray[np.float32]:
        """Probabilities (B, S, S); NaN where a logit is not finite.

        Args:
            image: (B, 3, S, S).
            coords: prompts and disks, (B, 3, S, S), and with averaging those of the mirrored image.
            rows: rows of the granularity table; None for no granularity.
        """
        started = time.perf_counter()
        image, rows = self._sent(image), None if rows is None else self._sent(rows)
        images = [image] if len(coords) == 1 else [image, image.flip(3)]
        if self.one_forward:
            repeated = None if rows is None else rows.repeat(len(images))
            logits = self._logits(torch.cat(images), torch.cat([*coords]), repeated).chunk(len(images))
        else:
            logits = tuple(self._logits(each, maps, rows) for each, maps in zip(images, coords, strict=True))
        mean = logits[0] if len(logits) == 1 else 0.5 * (logits[0] + logits[1].flip(3))
        # Infinite logits would give the probabilities 0 and 1. As NaN among these, they reach the CPU at no extra wait.
        probabilities = torch.where(mean.isfinite(), torch.sigmoid(mean), torch.nan)[:, 0].cpu().numpy()
        self.forward_seconds += time.perf_counter() - started
        self.forwards += len(image) * len(coords)
        return probabilities

    def _logits(self, image: Tensor, coords: Tensor, rows: Tensor | None) -> Tensor:
        """Logits (B, 1, S, S), float32."""
        half = self.config.dtype == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits: Tensor = self.network(image, self._sent(coords), rows).float()
        return logits

    def _sent(self, values: Tensor) -> Tensor:
        """The same values on the device. The copy to a GPU is not waited for; the network comes after it."""
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)


def open_predictor(files: ModelFiles, config: PredictorConfig) -> Predictor:
    """Load a model and make its predictor.

    Raises:
        UserError: a file cannot be used, or is not the one that was described, or the device is not there.
    """
    set_backend_flags()
    device = choose_device(config.device).name
    name = f"{files.checkpoint} with {files.adapter}" if files.adapter else files.checkpoint
    return Predictor(ready(load_model_files(files), device), config, name=name)


def ready(network: SimpleClick, device: str) -> SimpleClick:
    """The network on a device, with LoRA merged: for predictions, not for training."""
    network = network.to(device)
    merge_lora(network)
    return network


def _coords(prompts: Tensor, clicks: Sequence[Sequence[InputClick]]) -> Tensor:
    """Prompts (B, S, S), positive and negative disks, as the network takes them: (B, 3, S, S)."""
    coords = torch.zeros(len(prompts), 3, *prompts.shape[1:])
    coords[:, 0] = prompts
    for maps, own in zip(coords.numpy(), clicks, strict=True):
        draw_disks(maps[1:], own)
    return coords


def _rows(interactions: Sequence[Interaction], config: PredictorConfig) -> Tensor | None:
    """Row of the granularity table per interaction, (B,) int64; None if no interaction has a granularity."""
    if all(interaction.granularity is None for interaction in interactions):
        return None
    released = config.bins == "released"
    return torch.tensor([table_row(interaction.granularity, released) for interaction in interactions])


def _pasted(probability: NDArray[np.float32], roi: Box, interaction: Interaction) -> ProbabilityMap:
    """The (S, S) probability resized to the region, or to its wanted part, in the image's frame."""
    height, width = interaction.image.shape[:2]
    wanted = roi if interaction.wanted is None else common(roi, interaction.wanted)
    pasted = ResizedMap(height, width, roi, wanted, probability)
    return pasted if wanted.height * wanted.width > LARGE else Crop(height, width, wanted, pasted.values)
