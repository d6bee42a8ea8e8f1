"""Devices that are asked for are there; the flags are tested where they are set (tests/training/test_devices.py)."""

import pytest
import torch

from agg_pipeline.models.backend import check_gpu
from schemas.errors import UserError


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:0", "cuda:\u0661"])
def test_unknown_names(device: str) -> None:
    with pytest.raises(UserError, match=f"^unknown device '{device}'; possible: cpu, cuda, cuda:N$"):
        check_gpu(device)


def test_a_number_of_thousands_of_digits_is_no_device() -> None:
    with pytest.raises(UserError, match=r"^unknown device 'cuda:9{194}\.\.\.; possible: cpu, cuda, cuda:N$"):
        check_gpu(f"cuda:{'9' * 5000}")


@pytest.mark.parametrize(
    ("device", "devices", "there", "said"),
    [
        ("cpu", 4, 0, None),
        ("cuda", 1, 1, None),
        ("cuda:1", 1, 2, None),
        ("cuda", 2, 2, None),
        ("cuda", 1, 0, "no GPU here"),
        ("cuda:999999999", 1, 1, r"only 1 GPU\(s\) here"),
        ("cuda:1", 1, 1, r"only 1 GPU\(s\) here"),
        ("cuda", 3, 2, r"only 2 GPU\(s\) here"),
    ],
)
def test_number_of_gpus(
    monkeypatch: pytest.MonkeyPatch, device: str, devices: int, there: int, said: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    if said is None:
        check_gpu(device, devices)
        return
    with pytest.raises(UserError, match=f"^device '{device}' was asked for, but torch finds {said}"):
        check_gpu(device, devices)
