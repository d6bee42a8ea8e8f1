"""How much memory a training spends on images that it has decoded."""

from __future__ import annotations

from schemas.training import TrainingConfig

IMAGE_CACHE_BYTES = 2 << 30
"""Bytes of decoded images that all processes of a training keep together, on one machine.

Images of a larger data set are decoded again in every epoch.
"""


def cache_share(config: TrainingConfig) -> int:
    """Bytes of decoded images that each process that prepares samples may keep.

    Each of ``config.devices`` processes has ``config.loaders`` loaders, or prepares its samples itself.
    """
    return IMAGE_CACHE_BYTES // (config.devices * max(1, config.loaders))
