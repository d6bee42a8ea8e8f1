"""Fields of configuration that know which values they may have."""

from __future__ import annotations

from dataclasses import field
from typing import Any

INFINITY = float("inf")


def number(default: Any, low: float, high: float = INFINITY) -> Any:
    """A field with the smallest and the largest value that it may have."""
    return field(default=default, metadata={"range": (low, high)})
