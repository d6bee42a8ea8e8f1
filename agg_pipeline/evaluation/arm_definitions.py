"""The evaluations that ``agg eval adapted`` compares. It imports little: the command line knows their names from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One of the evaluations that are compared.

    Args:
        name: of its folder and its row.
        adapted: whether the model has its adapter.
        levels: levels of the masks that it is about.
        changes: to the configuration, nested.
    """

    name: str
    adapted: bool
    levels: tuple[str, ...]
    changes: Mapping[str, Any]


ARMS = {
    arm.name: arm
    for arm in (
        Arm("base", False, ("object", "part"), {}),
        Arm("best-of-10", False, ("object", "part"), {"mode": "best_of", "attempts": 10}),
        Arm("optimal", True, ("object", "part"), {"mode": "optimal"}),
        Arm("by-class", True, ("part",), {"mode": "per_class"}),
        Arm("whole", True, ("object",), {"mode": "fixed", "granularity": 1.0}),
    )
}
"""The base, the base with as many attempts as there are granularities, and the adapted model: the best granularity of
each mask, one for each class of parts that was the best on other images, and 1.0 for objects."""
