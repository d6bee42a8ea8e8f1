"""Devices that are chosen are there; the flags are tested where they are set (tests/training/test_devices.py)."""

import warnings
from dataclasses import dataclass

import pytest
import torch

from agg_pipeline.models.backend import choose_device, usable_gpus, visible_gpus
from schemas.errors import UserError

TOO_OLD = "CUDA initialization: The NVIDIA driver on your system is too old\n(found version 11040)."


@dataclass
class Machine:
    """GPUs that torch finds: the compute capability of each."""

    gpus: tuple[tuple[int, int], ...]
    built: tuple[str, ...] = ("sm_80", "sm_90", "compute_90")
    warning: str = ""
    names: tuple[str, ...] = ()

    def is_available(self) -> bool:
        if self.warning:
            warnings.warn(self.warning, stacklevel=2)
        return bool(self.gpus) and not self.warning


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    def install(found: Machine) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", found.is_available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found.gpus))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: found.gpus[number])
        monkeypatch.setattr(
            torch.cuda, "get_device_name", lambda number: found.names[number] if found.names else f"GPU{number}"
        )
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(found.built))

    return install


def gpus(count: int) -> Machine:
    return Machine(((9, 0),) * count)


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:0", "cuda:\u0661"])
def test_unknown_names(device: str) -> None:
    with pytest.raises(UserError, match=f"^unknown device '{device}'; possible: auto, cpu, cuda, cuda:N$"):
        choose_device(device)


def test_a_number_of_thousands_of_digits_is_no_device() -> None:
    with pytest.raises(UserError, match=r"^unknown device 'cuda:9{194}\.\.\.; possible: auto, cpu, cuda, cuda:N$"):
        choose_device(f"cuda:{'9' * 5000}")


@pytest.mark.parametrize(
    ("device", "devices", "there", "chosen"),
    [
        ("cpu", 4, 0, ("cpu", "the CPU")),
        ("cpu", 1, 2, ("cpu", "the CPU")),
        ("cuda", 1, 1, ("cuda", "GPU0")),
        ("cuda:1", 1, 2, ("cuda:1", "GPU1")),
        ("cuda", 2, 2, ("cuda", "GPU0")),
        ("auto", 1, 0, ("cpu", "the CPU (torch finds no GPU)")),
        ("auto", 4, 0, ("cpu", "the CPU (torch finds no GPU)")),
        ("auto", 2, 2, ("cuda", "GPU0 (a GPU that torch can use)")),
    ],
)
def test_what_is_chosen(machine, device, devices, there, chosen) -> None:
    machine(gpus(there))
    found = choose_device(device, devices)
    assert (found.name, str(found)) == chosen


@pytest.mark.parametrize(
    ("device", "devices", "there", "said"),
    [
        ("cuda", 1, 0, "device 'cuda' was asked for, but torch finds no GPU; use --device cpu or auto"),
        ("cuda:999999999", 1, 1, r"device 'cuda:999999999' was asked for, but torch finds only 1 GPU\(s\)"),
        ("cuda:1", 1, 1, r"device 'cuda:1' was asked for, but torch finds only 1 GPU\(s\)"),
        ("cuda", 3, 2, r"device 'cuda' was asked for, but torch finds only 2 GPU\(s\)"),
        ("auto", 3, 2, r"3 devices were asked for, but torch finds only 2 GPU\(s\)"),
    ],
)
def test_gpus_that_are_not_there(machine, device, devices, there, said) -> None:
    machine(gpus(there))
    with pytest.raises(UserError, match=f"^{said}"):
        choose_device(device, devices)


@pytest.mark.parametrize(
    ("found", "usable", "why"),
    [
        (gpus(2), 2, ""),
        (gpus(0), 0, "torch finds no GPU"),
        (Machine(((9, 0),), warning=TOO_OLD), 0, TOO_OLD.replace("\n", " ")),
        # Of a major version, code runs on later minor ones; compute_90 is made fit for all later GPUs.
        (Machine(((8, 6), (9, 0), (12, 0))), 3, ""),
        (Machine(((9, 0), (7, 5))), 1, "this torch is not built for GPU 1 (GPU1, compute capability 7.5)"),
        (
            Machine(((10, 0),), ("sm_80", "sm_90a")),
            0,
            "this torch is not built for GPU 0 (GPU0, compute capability 10.0)",
        ),
        (Machine(((9, 4),), ("gfx90a", "gfx942")), 1, ""),
    ],
)
def test_gpus_that_torch_can_use(machine, found, usable, why) -> None:
    machine(found)
    assert usable_gpus() == (usable, why)


def test_torch_for_the_cpu_finds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert usable_gpus() == (0, "this torch is built without CUDA")


@pytest.mark.parametrize(
    ("device", "visible", "names"),
    [
        ("cpu", None, []),
        ("cuda", None, ["0", "1"]),
        ("cuda:1", None, ["1"]),
        # What follows -1 is hidden, and torch does not count it.
        ("cuda", "5, GPU-ab,-1,6", ["5", "GPU-ab"]),
        ("cuda:1", "5,GPU-ab", ["GPU-ab"]),
    ],
)
def test_names_of_visible_gpus(machine, monkeypatch, device, visible, names) -> None:
    machine(Machine(((9, 0),) * 2, names=("H100", "H100")))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus(device) == names


@pytest.mark.parametrize(
    ("found", "device", "names"),
    [
        (Machine(((9, 0), (7, 5))), "cuda", ["0"]),
        (Machine(((9, 0), (7, 5))), "cuda:1", []),
        (Machine(((9, 0), (8, 0), (9, 0)), names=("H100", "A100", "H100")), "cuda", ["0", "2"]),
        (Machine(((9, 0), (8, 0)), names=("H100", "A100")), "cuda:1", ["1"]),
    ],
)
def test_workers_get_gpus_of_one_kind_that_torch_can_use(machine, found, device, names) -> None:
    machine(found)
    assert visible_gpus(device) == names
