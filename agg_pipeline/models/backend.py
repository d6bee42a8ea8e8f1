"""What torch computes on, and how exactly."""

from __future__ import annotations

import re

import torch

from schemas.errors import UserError
from schemas.fields import DEVICE
from schemas.words import excerpt


def check_gpu(device: str, devices: int = 1) -> None:
    """Check that devices are present.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        devices: number of devices of this kind, counted from N.

    Raises:
        UserError: the name is unknown, or torch finds fewer GPUs.
    """
    if not re.fullmatch(DEVICE, device):
        raise UserError(f"unknown device {excerpt(repr(device))}; possible: cpu, cuda, cuda:N")
    if device == "cpu":
        return
    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) + devices > count:
        gpus = f"only {count} GPU(s)" if count else "no GPU"
        raise UserError(f"device {device!r} was asked for, but torch finds {gpus} here; use --device cpu")


def set_backend_flags() -> None:
    """Let torch compute in full float32, by the same algorithms in every run.

    The flags are global to the process. Whoever opens a model to run or to train it calls this first, so that all
    commands and ``load_model`` compute alike.
    """
    # TF32 would round the inputs of products and convolutions to ten bits.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    # cuDNN would try several algorithms and take the fastest of the moment; they round differently.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
