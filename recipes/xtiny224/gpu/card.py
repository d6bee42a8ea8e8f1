"""A pack on the card: all photographs and masks, and how often each mask is drawn."""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

SHARES = {"sbd": 0.45, "penn": 0.10, "coco-mini": 0.17, "bsds-mini": 0.13, "demo": 0.15}
"""Share of the samples per group: a folder of the pack, or the pedestrians (penn) and the rest of sbd-mini (sbd)."""
SMALLEST = {"sbd": 60, "penn": 60, "coco-mini": 120, "bsds-mini": 250, "demo": 60}
"""Smaller masks are not drawn, in pixels of the pack."""
NESTED = "bsds-mini"
"""Its masks of one photograph overlap, so no mask is another object beside the drawn one."""
DONORS, SMALLEST_DONOR = ("sbd", "penn", "coco-mini"), 800
"""Groups of the objects that are pasted on other images; they have more pixels than the number."""
VALIDATION = {"sbd": ("sbd", "penn"), "coco": ("coco-mini",)}
"""Groups of the two validation sets."""
SMALLEST_VALIDATED = 40
"""Smaller masks are not validated on, in pixels of the pack."""
CHUNK = 1024
"""Masks that are measured at a time."""


@dataclass(frozen=True)
class Card:
    """A pack on a device.

    Attributes:
        images: (N, 3, S, S) uint8 RGB.
        packed: (M, S * S / 8) uint8, masks of eight pixels to a byte.
        owner: (M,) int64, image of every mask.
        union: (N, S * S / 8) uint8, all masks of an image together; 0 where they are nested.
        nested: (N,) bool, whether masks of the image overlap.
        weights: (M,) float32, how often a mask is drawn; 0 for validation and small ones.
        donors: (M,) float32, how often its object is pasted on another image.
        validation: numbers of the masks of every validation set.
    """

    images: Tensor
    packed: Tensor
    owner: Tensor
    union: Tensor
    nested: Tensor
    weights: Tensor
    donors: Tensor
    validation: dict[str, list[int]]

    @property
    def side(self) -> int:
        """S, side of images and masks in pixels."""
        return int(self.images.shape[2])

    def unpack(self, packed: Tensor) -> Tensor:
        """Packed masks (B, S * S / 8) as (B, 1, S, S) bool."""
        return unpack(packed, self.side)


def unpack(packed: Tensor, side: int) -> Tensor:
    """Packed masks (B, side * side / 8) as (B, 1, side, side) bool."""
    bits = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=packed.device)
    return ((packed[:, :, None] & bits) != 0).view(len(packed), 1, side, side)


def load(folder: Path, device: torch.device) -> Card:
    """Decode a pack and move it to a device.

    Args:
        folder: written by ``pack``.
        device: that holds all of it from then on: 1 GB for 2,800 images.
    """
    info = json.loads((folder / "index.json").read_text())
    side, owner = info["size"], np.array(info["owner"])
    images = _images((folder / "images.bin").read_bytes(), info["lengths"])
    masks = np.frombuffer(lzma.decompress((folder / "masks.xz").read_bytes()), np.uint8).reshape(-1, side * side // 8)
    packed = torch.from_numpy(masks.copy()).to(device)
    group = np.array([_group(entry["set"], entry["id"]) for entry in info["index"]])
    held_out = np.array([entry["val"] for entry in info["index"]])[owner]
    parts = (unpack(packed[start : start + CHUNK], side).sum((1, 2, 3)) for start in range(0, len(packed), CHUNK))
    area = torch.cat(list(parts)).cpu().numpy()
    weights, donors = _weights(group, owner, area, held_out)
    return Card(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device),
        packed,
        torch.tensor(owner, device=device),
        torch.from_numpy(_unions(masks, owner, group)).to(device),
        torch.tensor(group == NESTED, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
        torch.tensor(donors, dtype=torch.float32, device=device),
        {
            name: np.flatnonzero(held_out & np.isin(group[owner], groups) & (area >= SMALLEST_VALIDATED)).tolist()
            for name, groups in VALIDATION.items()
        },
    )


def _group(folder: str, image_id: str) -> str:
    if folder != "sbd-mini":
        return folder
    return "penn" if image_id.startswith("penn") else "sbd"


def _images(files: bytes, lengths: Sequence[int]) -> NDArray[np.uint8]:
    """Decode images that lie one after the other, (N, S, S, 3) RGB."""
    ends = np.cumsum(lengths)

    def decode(number: int) -> NDArray[np.uint8]:
        file = files[ends[number] - lengths[number] : ends[number]]
        return np.array(Image.open(io.BytesIO(file), formats=("WEBP",)).convert("RGB"))

    with ThreadPoolExecutor(16) as pool:
        return np.stack(list(pool.map(decode, range(len(ends)))))


def _unions(masks: NDArray[np.uint8], owner: NDArray[np.int64], group: NDArray[np.str_]) -> NDArray[np.uint8]:
    unions = np.zeros((len(group), masks.shape[1]), np.uint8)
    for mask, image in zip(masks, owner, strict=True):
        if group[image] != NESTED:
            unions[image] |= mask
    return unions


def _weights(
    group: NDArray[np.str_], owner: NDArray[np.int64], area: NDArray[np.int64], held_out: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often every mask is drawn and pasted: images of a group alike, and the masks of an image alike."""
    large = area >= np.array([SMALLEST[name] for name in group])[owner]
    weights = np.zeros(len(owner))
    for name, share in SHARES.items():
        mine = np.flatnonzero(~held_out & large & (group[owner] == name))
        masks = np.bincount(owner[mine], minlength=len(group))
        weights[mine] = share / max(1, (masks > 0).sum()) / masks[owner[mine]]
    donors = np.where(np.isin(group[owner], DONORS) & (area > SMALLEST_DONOR), weights, 0)
    return weights, donors
