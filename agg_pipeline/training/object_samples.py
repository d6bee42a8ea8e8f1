"""The samples of pre-training: whole objects, some of them pasted on the images of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from agg_pipeline.training.training_datasets import DatasetMixture
from agg_pipeline.training.training_sample import DrawnMask, Sample, make_sample
from schemas.crop import MaskCrop, area, crop_mask, tight_box
from schemas.numbers import BINS
from schemas.records import ImageRecord
from schemas.training import PretrainConfig
from stages.draws import generator
from stages.pretrain import place

MAX_PASTED = 4
"""Objects that are pasted on an image at most."""
MIN_SEEN = 0.25
"""Share of an object that must be visible for it to be learnt."""
SMALLEST = 0.15
"""Smallest size of a pasted object, as a share of the largest that fits into the image."""
NEAR = 0.5
"""Share of the pasted objects whose centre lies on another object."""


class ObjectSamples(Dataset[Sample]):
    """The samples of pre-training by (epoch, number); each depends on these and the seed alone.

    Args:
        mixture: the data sets that images are drawn from.
        config: samples per epoch, share of pasted scenes, augmentation, clicks and seed.
    """

    def __init__(self, mixture: DatasetMixture, config: PretrainConfig) -> None:
        self.mixture = mixture
        self.config = config

    def __len__(self) -> int:
        """Samples per epoch."""
        return self.config.epoch

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        config = self.config
        epoch, number = index
        rng = generator(config.training.seed, "object", epoch, number)
        record = self.mixture.draw(rng)
        if rng.random() < config.paste:
            pasted = [draw_object(self.mixture.draw(rng), rng) for _ in range(1 + int(rng.integers(MAX_PASTED)))]
            drawn = paste_objects(record, pasted, rng)
        else:
            drawn = draw_object(record, rng)
        return make_sample(drawn, config.augment, config.training.click_decay, rng, parted=config.parted)


def draw_object(record: ImageRecord, rng: np.random.Generator) -> DrawnMask:
    """Draw one of an image's objects.

    Args:
        record: the image; it has objects.
        rng: of the draw.

    Returns:
        The object, with all others of the image.
    """
    chosen = int(rng.integers(len(record.objects)))
    masks = [each.mask for each in record.objects]
    mask, others = _apart(masks, chosen)
    return DrawnMask(record.pixels, mask, others, mask, BINS, _ignored(record))


def paste_objects(record: ImageRecord, pasted: Sequence[DrawnMask], rng: np.random.Generator) -> DrawnMask:
    """Paste objects on an image one after another, each at a random size, and draw one of all its objects.

    That teaches a model which one of several objects is meant, whatever their sizes.

    Args:
        record: the image; it has objects.
        pasted: objects of other images of any size.
        rng: of all draws.

    Returns:
        An object of the image or a pasted one, of which at least a quarter is visible. ``others`` are the visible
        pixels of all other objects.
    """
    pixels, ignored = record.pixels, _ignored(record)
    height, width = pixels.shape[:2]
    # Packed: an image of SA-1B has hundreds of objects.
    seen = [each.mask for each in record.objects]
    wholes = [area(mask) for mask in seen]
    for each in pasted:
        box = tight_box(each.mask)
        if box is None:
            continue
        near = _places(seen[int(rng.integers(len(seen)))]) if rng.random() < NEAR else ()
        pixel = int(near[rng.integers(len(near))]) if len(near) else int(rng.integers(height * width))
        share = np.exp(rng.uniform(np.log(SMALLEST), 0))
        scale = share * min(height / box.height, width / box.width)
        pixels, mask = place(each.pixels, each.mask, pixels, scale, divmod(pixel, width))
        if not mask.any():
            continue
        seen = [_without(own, mask) for own in seen] + [crop_mask(mask, height, width)]
        ignored = None if ignored is None else ignored & ~mask
        wholes.append(area(seen[-1]))
    areas = [area(own) for own in seen]
    found = [number for number, own in enumerate(areas) if own and own >= MIN_SEEN * wholes[number]]
    mask, others = _apart(seen, found[int(rng.integers(len(found)))])
    return DrawnMask(pixels, mask, others, mask, BINS, ignored)


def _apart(masks: Sequence[MaskCrop], chosen: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The chosen one of an image's masks, and the pixels of the others that are not in it; both (H, W) bool."""
    mask = masks[chosen].full()
    others = np.zeros_like(mask)
    for each in masks:
        others[each.box.slices] |= each.values
    others[masks[chosen].box.slices] &= ~masks[chosen].values
    return mask, others


def _without(mask: MaskCrop, covered: NDArray[np.bool_]) -> MaskCrop:
    """The pixels of a mask that are not in ``covered``, (H, W) bool."""
    left = mask.values & ~covered[mask.box.slices]
    return crop_mask(left, mask.height, mask.width, mask.box.top, mask.box.left)


def _places(mask: MaskCrop) -> NDArray[np.int64]:
    """The pixels of a mask: row * width + col, ascending."""
    rows, cols = np.nonzero(mask.values)
    return (rows + mask.box.top) * mask.width + cols + mask.box.left


def _ignored(record: ImageRecord) -> NDArray[np.bool_] | None:
    return None if record.ignore is None else record.ignore.full()
