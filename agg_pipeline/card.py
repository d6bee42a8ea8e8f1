"""The dataset card that a database carries: Hugging Face front matter and a description, filled from the manifest."""

from __future__ import annotations

from typing import Any

from agg_pipeline.report.page import filled
from schemas.tables import FILES, REASONS, SAMPLING


def dataset_card(manifest: dict[str, Any]) -> str:
    """The text of the database's README.md."""
    tables = {
        name: [
            {"name": field.name, "type": str(field.type), "unit": (field.metadata or {})[b"unit"].decode()}
            for field in schema
        ]
        for name, schema in {**FILES, "sampling": SAMPLING}.items()
    }
    return filled("card.md.j2", manifest=manifest, totals=manifest["totals"], tables=tables, reasons=REASONS)
