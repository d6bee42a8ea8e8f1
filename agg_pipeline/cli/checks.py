"""What ``agg doctor`` checks: each function returns rows of what it found and, where something is wrong, what to do."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import numpy as np
import psutil
from packaging.requirements import Requirement

from agg_pipeline.cli.foreign import NAMES, advice
from schemas.devices import AUTO, available_cores

DISTRIBUTION = "agg-pipeline"
GIB = 1 << 30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, GIB
"""Bytes: a worker of the built-in model needs about one GiB of memory; a run writes temporary files."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
MANY = 1 << 30
"""Images of a run that has work for all workers."""
SCENE, IOU, LEAST_IOU = 35, 0.83, 0.6
"""Generated scene of the self-test, the IoU that one click on its largest object gives, and the least that passes."""


@dataclass(frozen=True)
class Check:
    """What was looked at.

    Args:
        what: name of the row.
        found: what is there.
        needed: what should be there, "" if nothing in particular.
        problem: what is wrong and what to do, "" if nothing is.
    """

    what: str
    found: str
    needed: str = ""
    problem: str = ""


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_packages(
    requirements: Sequence[str] | None, installed: Callable[[str], str | None] = installed_version
) -> list[Check]:
    """Compare installed packages with what the project requires.

    Args:
        requirements: of the project's metadata, such as ``numpy>=2``; None if the project is not installed.
        installed: gives the version of a distribution, None if it is not installed.
    """
    if requirements is None:
        problem = f"{DISTRIBUTION} is not installed, only found on the path; install it with pip"
        return [Check(DISTRIBUTION, "not installed", problem=problem)]
    checks = [Check(DISTRIBUTION, installed(DISTRIBUTION) or "not installed")]
    for requirement in map(Requirement, requirements):
        # Those of extras are not needed.
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        checks.append(_check_package(requirement, installed(requirement.name)))
    return checks


def _check_package(requirement: Requirement, found: str | None) -> Check:
    name, needed = requirement.name, str(requirement.specifier)
    fits = found is not None and requirement.specifier.contains(found, prereleases=True)
    there = f"is {found}" if found else "is not installed"
    problem = "" if fits else f"{name} {there}, but {needed} is needed; pip install '{name}{needed}'"
    return Check(name, found or "not installed", needed, problem)


def check_foreign(found: Mapping[str, str], owners: Callable[[], Mapping[str, Sequence[str]]]) -> list[Check]:
    """Report packages of other projects under the names of ours.

    Args:
        found: where such packages are imported from, by name.
        owners: gives the distributions that have installed each top-level package.
    """
    checks, installed = [], owners()
    for name in NAMES:
        others = sorted(set(installed.get(name, ())) - {DISTRIBUTION})
        problem = ""
        if name in found:
            problem = advice(name, found[name])
        elif others:
            problem = (
                f"{', '.join(others)} has installed a package {name!r} into the same folder, so that files of both are "
                "mixed; install agg into a virtual environment of its own"
            )
        checks.append(Check(f"package {name}", found.get(name, "ours"), problem=problem))
    return checks


def check_machine() -> list[Check]:
    """Cores, threads and GPUs that this process may use, and its free memory."""
    try:
        import torch

        from agg_pipeline.execution.local_gpus import worker_count
        from agg_pipeline.models.backend import choose_device, usable_gpus
        from schemas.config import PredictorConfig
    except ImportError as error:
        return [Check("torch and Dask", "not importable", problem=f"{error}; install agg again")]
    device, (gpus, why) = choose_device(AUTO), usable_gpus()
    workers = worker_count(PredictorConfig(device=device.name), MANY, None, None)
    checks = [
        Check("CPU cores for this process", str(available_cores())),
        Check("models run, unless --device is given, on", str(device)),
        Check("workers of a run, unless --workers is given", str(workers)),
        Check("threads of torch", str(torch.get_num_threads())),
        *(Check(name, os.environ[name]) for name in THREAD_VARIABLES if name in os.environ),
    ]
    for number in range(gpus):
        free, total = torch.cuda.mem_get_info(number)
        found = f"{torch.cuda.get_device_name(number)}, {_gib(free)} free of {_gib(total)}"
        checks.append(Check(f"cuda:{number}", found))
    if not gpus:
        checks.append(Check("GPUs", f"none ({why})"))
    return checks


def check_memory(available: int) -> Check:
    """Check the free memory.

    Args:
        available: free memory, in bytes.
    """
    problem = f"only {_gib(available)} of memory are free; end other programs, or use --workers 1"
    return Check(
        "free memory", _gib(available), f">= {_gib(LEAST_MEMORY)}", problem if available < LEAST_MEMORY else ""
    )


def free_bytes(folder: Path) -> int:
    """Free bytes of the file system that a folder lies on."""
    return shutil.disk_usage(folder).free


def check_folders(folders: Mapping[str, Path], free: Callable[[Path], int] = free_bytes) -> list[Check]:
    """Check that folders can be written to and have room.

    Args:
        folders: by what they are for.
        free: gives the free bytes of a folder.
    """
    checks = []
    for name, folder in folders.items():
        found, problem = f"{folder}: not writable", f"{folder} cannot be written to; choose another folder with --out"
        if name == "temporary folder":
            problem = f"{folder} cannot be written to; set TMPDIR to a folder that can"
        if _writable(folder):
            room = free(folder)
            found = f"{folder}: {_gib(room)} free"
            problem = "" if room >= LEAST_DISK else f"only {_gib(room)} are free in {folder}; make room"
        checks.append(Check(name, found, f">= {_gib(LEAST_DISK)}", problem))
    return checks


def _writable(folder: Path) -> bool:
    """Whether a file can be made there, which permissions alone do not say."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_model(device: str) -> Check:
    """Click on an object of a generated scene, and compare the built-in model's mask with the known one.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    from agg_pipeline.datasets.generated import SEED
    from agg_pipeline.demo import render
    from agg_pipeline.inference.interactive import load_model
    from stages.morphology import centre

    started = time.perf_counter()
    try:
        scene = render(SEED, SCENE)
        target = max((each.mask for each in scene.objects), key=lambda mask: mask.values.sum())
        row, col = centre(target)
        found = load_model(adapter="", device=device).predict(scene.pixels, [(row, col, True)]) > 0.5
    except Exception as error:  # whatever is wrong with an installation is to be shown beside the rest
        problem = f"one click on {device} failed: {type(error).__name__}: {error}"
        return Check(f"one click on {device}", "failed", problem=" ".join(problem.split()))
    truth = target.full()
    iou = float(np.sum(found & truth) / np.sum(found | truth))
    return judge_model(device, iou, time.perf_counter() - started)


def judge_model(device: str, iou: float, seconds: float) -> Check:
    """Judge the result of one click.

    Args:
        device: device of the model, as torch names it.
        iou: IoU after the click, in [0, 1].
        seconds: time that it took.

    Returns:
        The row of the check; it has a problem if the IoU is below ``LEAST_IOU``.
    """
    problem = (
        f"one click on {device} gives IoU {iou:.2f} instead of {IOU}: the model computes something else here; "
        "reinstall torch, and report it with the output of agg doctor"
    )
    found = f"IoU {iou:.2f} in {seconds:.1f} s"
    return Check(f"one click on {device}", found, f"IoU >= {LEAST_IOU}", "" if iou >= LEAST_IOU else problem)


def owners_of_packages() -> Mapping[str, Sequence[str]]:
    """The distributions that have installed each top-level package, by its name."""
    return packages_distributions()


def available_memory() -> int:
    """Bytes that are free on the machine, or that this process's control group allows if that is less."""
    free = int(psutil.virtual_memory().available)
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return free


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
