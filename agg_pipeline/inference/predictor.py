"""The predictor: batches of interactions over different images through the click model (protocol, section 2)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from agg_pipeline.inference.region_of_interest import next_roi
from agg_pipeline.inference.resizing import resized
from agg_pipeline.models.adapter import table_row
from agg_pipeline.models.model_files import ModelFiles, load_model_files
from agg_pipeline.models.simpleclick import SimpleClick, draw_disks
from schemas.config import PredictorConfig
from schemas.crop import Box, Crop, common
from schemas.records import Interaction, Prediction

KEPT_BYTES = 128 << 20


class _Regions:
    """The regions resized last: an object's steps and its proposals look at the same ones again and again.

    Arrays are known by their identity: they must not be changed in place while the predictor is used.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, Box], tuple[object, torch.Tensor, int]] = OrderedDict()
        self._bytes = 0

    def get(self, source: object, size: int, roi: Box, resize: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The resized region of an image or a prompt of ``size`` bytes, computed if it is not kept."""
        key = (id(source), roi)
        found = self._kept.get(key)
        if found is None:
            # The source is kept, too, so that its id stays its own.
            region = resize()
            found = self._kept[key] = (source, region, region.nbytes + size)
            self._bytes += found[2]
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][2]
        self._kept.move_to_end(key)
        return found[1]


class Predictor:
    """A network with zoom-in, optional flip averaging and paste-back; the ``ClickModel`` that stages are given.

    forward_seconds: time spent in the network since the start; forwards: (image, clicks) pairs sent through it.
    """

    def __init__(self, network: SimpleClick, config: PredictorConfig) -> None:
        self.config = config
        self.device = torch.device(config.device)
        self.network = network.eval().to(self.device)
        self.size = network.input_size
        self.forward_seconds = 0.0
        self.forwards = 0
        self._regions = _Regions()
        self._inputs = self._empty_inputs(0)

    def _empty_inputs(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 3, S, S), and coordinates (mirrored or not, N, 3, S, S): mask prompt, positive, negative disks."""
        shape = count, 3, self.size, self.size
        return torch.empty(shape), torch.empty(2 if self.config.flip else 1, *shape)

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """Foreground probability of each interaction, in order; see ``Prediction``.

        Interactions may be of different images and sizes. The state of an interaction (prompt, focus,
        region of interest) travels with it; what is kept between calls, resized regions and the input's memory, only
        saves work.
        """
        if not interactions:
            return []
        rois = [next_roi(interaction) for interaction in interactions]
        if len(interactions) > len(self._inputs[0]):
            self._inputs = self._empty_inputs(len(interactions))
        # The same memory for every batch: fresh pages cost as much as what is written to them.
        image, coords = self._inputs[0][: len(interactions)], self._inputs[1][:, : len(interactions)]
        coords[:, :, 1:] = 0.0
        for n, (interaction, roi) in enumerate(zip(interactions, rois, strict=True)):
            image[n] = self._image(interaction, roi)
            prompt, clicks = self._prompt(interaction, roi), self._clicks(interaction, roi)
            coords[0, n, 0] = prompt
            draw_disks(coords[0, n, 1:].numpy(), clicks)
            if self.config.flip:
                coords[1, n, 0] = prompt.flip(1)
                flipped = [(row, self.size - 1 - col, positive) for row, col, positive in clicks]
                draw_disks(coords[1, n, 1:].numpy(), flipped)
        image, coords = image.to(self.device), coords.to(self.device)
        rows = _rows(interactions, self.config)
        rows = None if rows is None else rows.to(self.device)
        logits = self._forward(image, coords[0], rows)
        if self.config.flip:
            logits = 0.5 * (logits + self._forward(image.flip(3), coords[1], rows).flip(3))
        probabilities = torch.sigmoid(logits)[:, 0].cpu().numpy()
        return [
            Prediction(_pasted(probability, roi, interaction), roi)
            for probability, roi, interaction in zip(probabilities, rois, interactions, strict=True)
        ]

    def _image(self, interaction: Interaction, roi: Box) -> torch.Tensor:
        """The image's region resized to (3, S, S), in [0, 1]."""

        def resize() -> torch.Tensor:
            crop = interaction.image[roi.top : roi.bottom + 1, roi.left : roi.right + 1]
            planes = [resized(plane.astype(np.float32), self.size, self.size) for plane in cv2.split(crop)]
            return torch.from_numpy(np.stack(planes)).div_(255.0)

        return self._regions.get(interaction.image, interaction.image.nbytes, roi, resize)

    def _prompt(self, interaction: Interaction, roi: Box) -> torch.Tensor:
        """The mask prompt's region resized to (S, S); zeros without a prompt."""
        prompt = interaction.prompt
        if prompt is None:
            return torch.zeros(self.size, self.size)
        if (prompt.height, prompt.width) != interaction.image.shape[:2]:
            raise ValueError(f"a prompt of {prompt.height}x{prompt.width} for an image of {interaction.image.shape}")

        def resize() -> torch.Tensor:
            return torch.from_numpy(resized(np.asarray(prompt.window(roi), np.float32), self.size, self.size))

        # A probability map is the prompt of one step only, an object's mask that of all its proposals.
        if prompt.values.dtype != np.bool_:
            return resize()
        return self._regions.get(prompt, prompt.values.nbytes, roi, resize)

    def _clicks(self, interaction: Interaction, roi: Box) -> list[tuple[float, float, bool]]:
        """The clicks as (row, col, positive) in pixels of the network's input."""
        return [
            (
                self.size * (click.row - roi.top) / roi.height,
                self.size * (click.col - roi.left) / roi.width,
                click.positive,
            )
            for click in interaction.clicks
        ]

    def _forward(self, image: torch.Tensor, coords: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        started = time.perf_counter()
        half = self.config.dtype == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits: torch.Tensor = self.network(image, coords, rows).float()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.forward_seconds += time.perf_counter() - started
        self.forwards += len(image)
        return logits


def open_predictor(files: ModelFiles, config: PredictorConfig) -> Predictor:
    """The predictor of a model's files; UserError if they are not the ones that were described."""
    # TF32 would round the inputs of convolutions and products to ten bits.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return Predictor(load_model_files(files), config)


def _rows(interactions: Sequence[Interaction], config: PredictorConfig) -> torch.Tensor | None:
    """Row of the granularity table for each interaction, None if no interaction has a granularity."""
    if all(interaction.granularity is None for interaction in interactions):
        return None
    released = config.bins == "released"
    return torch.tensor([table_row(interaction.granularity, released) for interaction in interactions])


def _pasted(probability: NDArray[np.float32], roi: Box, interaction: Interaction) -> Crop[np.float32]:
    """The (S, S) probability resized to the region, or what is wanted of it, as a crop of the image's frame."""
    height, width = interaction.image.shape[:2]
    wanted = roi if interaction.wanted is None else common(roi, interaction.wanted)
    window = wanted._replace(top=wanted.top - roi.top, left=wanted.left - roi.left)
    return Crop(height, width, wanted, resized(probability, roi.height, roi.width, window))
