"""The SAM family as click models, as the paper compares with it: an image is encoded once, clicks so far are points.

There is no mask prompt, box, mirrored image or zoom-in. A pixel is foreground above logit 0, which is the probability
0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from agg_pipeline.models.other_models import PATH, ModelFacts, OtherModel, check_arguments
from agg_pipeline.models.sam_files import DOWNLOAD, TINY, Opened, library, open_sam
from agg_pipeline.storage.recent import Recent
from schemas.errors import UserError
from schemas.records import Click, Interaction, Pixels
from schemas.words import excerpt, possible

BEST = {"1": 1, "3": 3}
"""Masks per prediction: one (SAM), or three of which the ground truth chooses (SAM*)."""
PROMPTS = ("none", "logits")
"""What the model gets besides clicks: nothing, as in the paper, or the logits of the last mask."""
FEATURES_BYTES = 1 << 29
"""Images and their features that are kept, in bytes; those of an image take 5 to 20 MB, of SAM-HQ up to 30 MB."""
DECODED = 16
"""Most interactions that are decoded together."""
LARGEST_LOGIT = 16.0
"""Larger logits are probabilities of 1 in float32."""
JUST_ABOVE = float(np.nextafter(np.float32(0.5), np.float32(1)))


@dataclass(frozen=True, eq=False)
class Features:
    """What the encoder makes of an image.

    Attributes:
        image: the image. As long as it is held, no other image has its identity.
        maps: features, (1, ...) each.
    """

    image: Pixels
    maps: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that they take."""
        return self.image.nbytes + sum(each.nbytes for each in self.maps)


class SamModel:
    """A model of the SAM family.

    Args:
        opened: the model.
        best: masks per prediction, 1 or 3.
        prompt: one of ``PROMPTS``.
        device: ``cpu`` or ``cuda``.

    Attributes:
        facts: what it says of itself.
    """

    def __init__(self, opened: Opened, best: int, prompt: str, device: str) -> None:
        network = opened.network
        self.facts = ModelFacts(
            architecture=opened.name,
            sha256=opened.sha256,
            input_size=opened.side,
            parameters=sum(each.numel() for each in network.parameters()),
            candidates=best,
            settings={"prompt": prompt, "config": opened.config, "transformers": library().__version__},
        )
        self._network = network.to(device)
        self._kind = opened.kind
        self._device = device
        self._best = best
        self._prompted = prompt == "logits"
        self._side = opened.side
        self._normal = opened.normal
        self._features = Recent[int, Features](FEATURES_BYTES, lambda features: features.nbytes)

    @torch.inference_mode()
    def predict(self, interactions: Sequence[Interaction]) -> list[NDArray[np.float32]]:
        """Predict the foreground of interactions. Those with as many clicks are decoded together.

        Args:
            interactions: with at least one click each.

        Returns:
            A map per interaction, (H, W) float32 in [0, 1], or three, (3, H, W).
        """
        groups: dict[tuple[int, bool], list[int]] = {}
        for number, each in enumerate(interactions):
            groups.setdefault((len(each.clicks), self._prompted and each.prompt is not None), []).append(number)
        found: dict[int, NDArray[np.float32]] = {}
        for (_, prompted), group in groups.items():
            for start in range(0, len(group), DECODED):
                numbers = group[start : start + DECODED]
                logits = self._decoded([interactions[number] for number in numbers], prompted)
                for number, own in zip(numbers, logits, strict=True):
                    maps = probabilities(self._upscaled(own, interactions[number].image))
                    found[number] = maps if self._best > 1 else maps[0]
        return [found[number] for number in range(len(interactions))]

    def _decoded(self, interactions: Sequence[Interaction], prompted: bool) -> Tensor:
        """Logits of some interactions, (N, K, h, w), where h and w are a quarter of the input's side."""
        maps = [torch.cat(own) for own in zip(*(self._encoded(each.image).maps for each in interactions), strict=True)]
        points = [self._points(each.clicks, each.image) for each in interactions]
        labels = [[int(click.positive) for click in each.clicks] for each in interactions]
        masks = torch.cat([self._prompt(each) for each in interactions]) if prompted else None
        decoded = self._network(
            **self._given(maps),
            input_points=torch.tensor(points, dtype=torch.float32, device=self._device)[:, None],  # (N, 1, clicks, 2)
            input_labels=torch.tensor(labels, device=self._device)[:, None],  # (N, 1, clicks)
            input_masks=masks,
            multimask_output=self._best > 1,
        )
        logits: Tensor = decoded.pred_masks[:, 0]
        return logits

    def _encoded(self, image: Pixels) -> Features:
        return self._features.get(id(image), lambda: Features(image, self._encode(image)))

    def _encode(self, image: Pixels) -> tuple[Tensor, ...]:
        found = self._network.get_image_embeddings(self.pixel_values(image).to(self._device))
        if isinstance(found, Tensor):
            return (found,)
        if self._kind.model == "SamHQModel":
            # Its decoder takes the first of the encoder's intermediate features.
            features, intermediate = found
            return features, intermediate[0]
        return tuple(found)

    def _given(self, maps: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        """Features as the arguments of the model."""
        if self._kind.model == "SamHQModel":
            return {"image_embeddings": maps[0], "intermediate_embeddings": maps[1:]}
        return {"image_embeddings": maps[0] if self._kind.padded else maps}

    def pixel_values(self, image: Pixels) -> Tensor:
        """Image as the encoder sees it.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (1, 3, side, side) float32, normalised. SAM's are padded with 0 at the bottom and the right.
        """
        rows, cols = self._size(image)
        if self._kind.padded:
            resized = np.asarray(Image.fromarray(image).resize((cols, rows), Image.Resampling.BILINEAR))
            values = torch.from_numpy(resized.copy()).permute(2, 0, 1)[None]
        else:
            values = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
            values = F.interpolate(values, (rows, cols), mode="bilinear", antialias=True)
        mean, deviation = (torch.tensor(each)[:, None, None] for each in self._normal)
        normalised = (values / 255 - mean) / deviation
        return F.pad(normalised, (0, self._side - cols, 0, self._side - rows))

    def _size(self, image: Pixels) -> tuple[int, int]:
        """Rows and columns of the image in the model's input."""
        if not self._kind.padded:
            return self._side, self._side
        height, width = image.shape[:2]
        scale = self._side / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def _points(self, clicks: Sequence[Click], image: Pixels) -> list[tuple[float, float]]:
        """Clicks as (x, y) in pixels of the model's input."""
        rows, cols = self._size(image)
        height, width = image.shape[:2]
        return [(click.col * (cols / width), click.row * (rows / height)) for click in clicks]

    def _upscaled(self, logits: Tensor, image: Pixels) -> Tensor:
        """Logits at the size of the image, (K, H, W): through those of the model's input, whose padding is cut off."""
        height, width = image.shape[:2]
        if self._kind.padded:
            rows, cols = self._size(image)
            full = F.interpolate(logits[None], (self._side, self._side), mode="bilinear", align_corners=False)
            logits = full[0, :, :rows, :cols]
        return F.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)[0]

    def _prompt(self, interaction: Interaction) -> Tensor:
        """The last map as logits in a quarter of the input's size, (1, 1, h, w); the padding is as its lowest pixel."""
        assert interaction.prompt is not None
        full = torch.from_numpy(np.asarray(interaction.prompt.full(), np.float64)).to(self._device)
        logits = torch.logit(full).clamp(-LARGEST_LOGIT, LARGEST_LOGIT).float()[None, None]
        rows, cols = self._size(interaction.image)
        quarter = self._side // 4
        size = max(1, round(rows / 4)), max(1, round(cols / 4))
        small = F.interpolate(logits, size, mode="bilinear", antialias=True)
        padding = (0, quarter - size[1], 0, quarter - size[0])
        return F.pad(small, padding, value=float(small.min()))


def probabilities(logits: Tensor) -> NDArray[np.float32]:
    """Probabilities of logits; those above 0 are above 0.5, however little."""
    values = torch.sigmoid(logits)
    values = torch.where(logits > 0, values.clamp(min=JUST_ABOVE), values.clamp(max=0.5))
    return values.float().cpu().numpy()


def sam(arguments: Mapping[str, str], device: str) -> OtherModel:
    """A model of the SAM family from a folder.

    Args:
        arguments: the folder, or ``tiny-random``; ``best``, 1 or 3 masks per prediction; ``prompt``, none or logits.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: an argument cannot be used, or the folder does not hold such a model.
    """
    check_arguments(arguments, (PATH, "best", "prompt"), "sam")
    if PATH not in arguments:
        raise UserError(f"write --model sam:FOLDER, or sam:{TINY} to try it without weights. For weights: {DOWNLOAD}")
    best, prompt = arguments.get("best", "1"), arguments.get("prompt", "none")
    if best not in BEST:
        raise UserError(f"best={excerpt(best)} is not possible; {possible(best, BEST)}")
    if prompt not in PROMPTS:
        raise UserError(f"prompt={excerpt(prompt)} is not possible; {possible(prompt, PROMPTS)}")
    return SamModel(open_sam(arguments[PATH]), BEST[best], prompt, device)
