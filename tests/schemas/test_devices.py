"""Devices by kind."""

import pytest

from schemas.devices import device_kind


@pytest.mark.parametrize(
    ("device", "kind"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:0", "cuda"), ("cuda:1", "cuda"), ("cuda:12", "cuda")]
)
def test_the_number_is_left_out(device, kind):
    assert device_kind(device) == kind
