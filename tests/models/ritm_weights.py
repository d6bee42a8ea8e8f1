"""Made-up weights for RITM's networks, by the recipe of the recorded values."""

import math
import zlib

import numpy as np
import torch

from agg_pipeline.models.hrnet import HRNetSizes
from agg_pipeline.models.ritm import Ritm

TINY = HRNetSizes(2, 3, blocks=1, modules=(1, 1, 1))


def made_up(shapes):
    """Tensors by key name, each drawn from a generator of its own.

    Args:
        shapes: of the tensors, by key name.
    """
    return {key: made_up_tensor(key, tuple(shape)) for key, shape in shapes.items()}


def made_up_tensor(key, shape):
    drawn = np.random.default_rng(zlib.crc32(key.encode()))
    match key.rpartition(".")[2]:
        case "num_batches_tracked":
            return torch.tensor(0)
        case "scale":
            return torch.full(shape, 0.05)
        case "running_var":
            values = drawn.uniform(0.5, 1.5, shape)
        case "running_mean" | "bias":
            values = 0.1 * drawn.standard_normal(shape)
        case _ if len(shape) > 1:
            values = drawn.standard_normal(shape) * math.sqrt(1 / math.prod(shape[1:]))
        case _:
            values = 0.8 + 0.05 * drawn.standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


def made_up_network(sizes=TINY):
    """A network in evaluation mode."""
    network = Ritm(sizes)
    network.load_state_dict(made_up({key: value.shape for key, value in network.state_dict().items()}))
    return network.eval()
