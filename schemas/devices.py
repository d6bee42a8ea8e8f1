"""Names of devices: ``cpu``, ``cuda`` and ``cuda:N``."""

from __future__ import annotations


def device_kind(device: str) -> str:
    """The kind of a device: ``cuda`` for ``cuda:1``. Results depend on the kind, not on the number."""
    return device.partition(":")[0]
