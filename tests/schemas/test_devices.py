"""Devices by kind."""

import pytest

from schemas import devices
from schemas.devices import available_cores, device_kind


@pytest.mark.parametrize(
    ("device", "kind"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:0", "cuda"), ("cuda:1", "cuda"), ("cuda:12", "cuda")]
)
def test_the_number_is_left_out(device, kind):
    assert device_kind(device) == kind


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _process: {2, 5, 7}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(devices.os, "sched_getaffinity")
    monkeypatch.setattr(devices.os, "cpu_count", lambda: None)
    assert available_cores() == 1
