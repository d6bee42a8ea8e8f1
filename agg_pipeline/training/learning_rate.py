"""Learning-rate schedules: the factor by which the highest rate is multiplied, as a function of the epoch.

Epochs count from 0 and have fractions: 2.5 is halfway through the third epoch.
"""

from __future__ import annotations

import math

LOWEST = 0.01
"""Factor at the start of a warm-up and at the end of a cosine."""


def step_decay(epoch: float, decay_epoch: float, decay: float) -> float:
    """Schedule of fine-tuning (GCL; Section 4.1): constant, then divided once.

    Args:
        epoch: epoch of the step.
        decay_epoch: first epoch at the lower rate.
        decay: factor from then on.

    Returns:
        1, or ``decay`` from ``decay_epoch`` on.
    """
    return decay if epoch >= decay_epoch else 1.0


def warm_up_and_cosine(epoch: float, epochs: float, warm_up: float) -> float:
    """Schedule of pre-training: a linear warm-up, then half a cosine down to where it began.

    Args:
        epoch: epoch of the step.
        epochs: length of the training.
        warm_up: length of the warm-up, in epochs; 0 for none.

    Returns:
        A number in [``LOWEST``, 1].
    """
    if epoch < warm_up:
        return LOWEST + (1 - LOWEST) * epoch / warm_up
    done = (epoch - warm_up) / max(1e-9, epochs - warm_up)
    return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * min(1.0, done))) / 2
