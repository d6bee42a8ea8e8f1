"""What decides the bytes of a result besides data, model and configuration: program, libraries and machine.

All workers of a run must agree, or a database would hold the bytes of two programs.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy
import PIL
import pyarrow
import scipy
import torch

Facts = Mapping[str, str]
"""Names of what is compared, and what was found."""
PACKAGES = tuple(Path(__file__).parents[2] / name for name in ("agg_pipeline", "schemas", "stages"))
"""Folders of this program; they lie side by side wherever it is installed."""


@lru_cache(maxsize=1)
def program_facts() -> dict[str, str]:
    """This program and its libraries; the same in the process that starts a run and in every worker."""
    return {
        "this package": _package_hash(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "pyarrow": pyarrow.__version__,
        "pycocotools": version("pycocotools"),
        "rlemasklib": version("rlemasklib"),
    }


def machine_facts(device: str) -> dict[str, str]:
    """The machine of a worker; the same in all workers.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``, on which the model runs.
    """
    found = {"instruction set": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"}
    if device != "cpu" and torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name(device)
    return found


def difference(expected: Facts, found: Facts) -> str:
    """The first difference in words; "" if there is none."""
    for name, value in expected.items():
        other = found.get(name, "nothing")
        if other != value:
            return f"{name} is {other} there, and {value} here"
    return ""


def _package_hash() -> str:
    """Hash of the source files of this program."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in PACKAGES:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder.parent)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
