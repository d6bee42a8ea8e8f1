"""What torch computes on, and how exactly."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from schemas.devices import AUTO, CPU, CUDA, gpu_number
from schemas.errors import UserError, out_of_memory
from schemas.fields import DEVICE
from schemas.words import excerpt

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the GPUs that a process may use."""
REASON = 200
"""Characters of what torch says of a GPU that it cannot use."""


class NoGpuError(UserError):
    """A GPU is asked for, and torch can use none or fewer here."""


@dataclass(frozen=True)
class ChosenDevice:
    """What a model runs on.

    Attributes:
        name: ``cpu``, ``cuda`` or ``cuda:N``.
        words: the same for people: "the CPU", or the name of the GPU.
        why: why it was chosen; "" if it was asked for.
    """

    name: str
    words: str
    why: str = ""

    def __str__(self) -> str:
        """As the first lines of a command say it."""
        return f"{self.words} ({self.why})" if self.why else self.words


def choose_device(asked: str, devices: int = 1) -> ChosenDevice:
    """Choose what a model runs on; nothing is computed on it yet.

    Args:
        asked: ``auto`` (a GPU if torch can compute on one here, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        devices: number of devices of this kind that are needed, counted from N.

    Raises:
        NoGpuError: a GPU is asked for, and torch can use none or fewer here.
        UserError: the name is unknown.
    """
    if not re.fullmatch(DEVICE, asked):
        raise UserError(f"unknown device {excerpt(repr(asked))}; possible: auto, cpu, cuda, cuda:N")
    if asked == CPU:
        return ChosenDevice(CPU, "the CPU")
    count, problem = usable_gpus()
    if asked == AUTO:
        if not count:
            return ChosenDevice(CPU, "the CPU", problem)
        if devices > count:
            raise NoGpuError(f"{devices} devices were asked for, but {_found(count)}; use --device cpu, or fewer")
        return ChosenDevice(CUDA, torch.cuda.get_device_name(0), "a GPU that torch can use")
    number = gpu_number(asked) or 0
    if number + devices > count:
        raise NoGpuError(
            f"device {asked!r} was asked for, but {_found(count) if count else problem}; use --device cpu or auto"
        )
    return ChosenDevice(asked, torch.cuda.get_device_name(number))


def usable_gpus() -> tuple[int, str]:
    """Number of GPUs that this torch can compute on, and why there is none.

    The environment variable ``CUDA_VISIBLE_DEVICES`` limits them. No GPU is opened, which would take its memory.
    """
    if torch.version.cuda is None and torch.version.hip is None:
        return 0, "this torch is built without CUDA"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        # As for a driver that is too old.
        return 0, excerpt(" ".join(str(said[0].message).split()), REASON) if said else "torch finds no GPU"
    for number in range(torch.cuda.device_count()):
        capability, built = torch.cuda.get_device_capability(number), torch.cuda.get_arch_list()
        if not _has_kernels(capability, built):
            major, minor = capability
            name = torch.cuda.get_device_name(number)
            return number, f"this torch is not built for GPU {number} ({name}, compute capability {major}.{minor})"
    return torch.cuda.device_count(), ""


def has_bfloat16(device: str) -> bool:
    """Whether a device that was chosen is a GPU that computes with bfloat16 itself."""
    return device != CPU and torch.cuda.get_device_capability(gpu_number(device) or 0) >= (8, 0)


def visible_gpus(device: str) -> list[str]:
    """How ``CUDA_VISIBLE_DEVICES`` names the GPUs that workers of this machine may use.

    Args:
        device: ``cpu``, ``cuda`` (all that torch can use and that are of the first one's kind) or ``cuda:N`` (this one;
            none if only the workers of a cluster have it), as it was chosen.
    """
    if device == CPU:
        return []
    count, _ = usable_gpus()
    wanted = gpu_number(device)
    left_out = gpus_of_other_kinds()
    numbers = [number for number in range(count) if (number not in left_out if wanted is None else number == wanted)]
    named = os.environ.get(VISIBLE)
    return [str(number) if named is None else named.split(",")[number].strip() for number in numbers]


def gpus_of_other_kinds() -> dict[int, str]:
    """Numbers and names of the GPUs that torch can use and that are of another kind than the first one.

    They compute other low bits, so that all workers of a run must be of one kind.
    """
    count, _ = usable_gpus()
    names = [torch.cuda.get_device_name(number) for number in range(count)]
    return {number: name for number, name in enumerate(names) if name != names[0]}


def _found(count: int) -> str:
    return f"torch finds only {count} GPU(s)"


def _has_kernels(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether a GPU can run what torch was built for.

    Args:
        capability: the GPU's compute capability.
        built: architectures: sm_80 runs on 8.0 to 8.9, compute_80 on 8.0 and all later ones. Others, as of AMD, are not
            judged.
    """
    found = [match.groups() for name in built if (match := re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name))]
    versions = [(kind, (int(major), int(minor))) for kind, major, minor in found]
    return not versions or any(
        version <= capability and (kind == "compute" or version[0] == capability[0]) for kind, version in versions
    )


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


def gpu_is_full(error: BaseException) -> bool:
    """Whether an error of torch says that a GPU has too little memory; cuBLAS and cuDNN have words of their own."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    of_gpu = any(name in str(error) for name in ("CUDA", "CUBLAS", "CUDNN"))
    return isinstance(error, RuntimeError) and of_gpu and out_of_memory(error)
