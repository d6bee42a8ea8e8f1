"""The dataset card that a database carries: Hugging Face front matter and a description, filled from the manifest."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.canonical import Json
from schemas.tables import FILES, REASONS, SAMPLING

TEMPLATE = "card.md.j2"


def dataset_card(manifest: Json) -> str:
    """The text of the database's README.md."""
    tables = {
        name: [
            {"name": field.name, "type": str(field.type), "unit": (field.metadata or {})[b"unit"].decode()}
            for field in schema
        ]
        for name, schema in {**FILES, "sampling": SAMPLING}.items()
    }
    # Markdown: nothing is escaped.
    loader = PackageLoader("agg_pipeline", "database")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True)
    template = environment.get_template(TEMPLATE)
    return template.render(manifest=manifest, totals=manifest["totals"], tables=tables, reasons=REASONS)
