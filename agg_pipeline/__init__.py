"""GraCo: masks of any granularity from object masks (AGG), and click models that a number controls (GCL)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agg_pipeline.database.reader import open_proposals
    from agg_pipeline.inference.interactive import load_model

__all__ = ["load_model", "open_proposals"]


def __getattr__(name: str) -> Any:
    # Imported when they are used: a reader of databases does not need torch.
    if name == "open_proposals":
        from agg_pipeline.database.reader import open_proposals

        return open_proposals
    if name == "load_model":
        from agg_pipeline.inference.interactive import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
