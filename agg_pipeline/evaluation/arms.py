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
        fine_tuned: whether it is of the fine-tuned model; else of its base model.
        levels: levels of the masks that it is about.
        changes: to the configuration, nested.
    """

    name: str
    fine_tuned: bool
    levels: tuple[str, ...]
    changes: Mapping[str, Any]

    @property
    def mode(self) -> str:
        """How its granularities are chosen (``EvaluationConfig.mode``)."""
        return str(self.changes.get("mode", "none"))


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
"""All evaluations, by name.

- base: the base model.
- best-of-10: the base model, with the best of ten first clicks per mask.
- optimal: the fine-tuned model, with the best of ten granularities per mask (oracle).
- by-class: the fine-tuned model, with one granularity per class of parts, chosen on other images.
- whole: the fine-tuned model at granularity 1.0, on objects.
"""
