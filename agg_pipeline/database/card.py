"""The dataset card that a database carries: Hugging Face front matter and a description, filled from the manifest."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from agg_pipeline.database.description import description
from agg_pipeline.database.history import history_lines
from agg_pipeline.execution.plan import sources
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
    environment.filters["cell"] = _cell
    plan = manifest["plan"]
    return environment.get_template(TEMPLATE).render(
        manifest=manifest,
        about=description(plan),
        totals=manifest["totals"],
        tables=tables,
        reasons=REASONS,
        made=list(history_lines(manifest["sources"], plan.get("history", []))),
        estimators=_estimators(sources(plan)),
    )


def _cell(text: object) -> str:
    """A text in a cell of a table."""
    return str(text).replace("|", "\\|")


def _estimators(runs: Sequence[Json]) -> list[str]:
    """How each run has combined scale and semantic granularity, in words; each way once."""
    found = []
    for run in runs:
        settings = run["config"].get("granularity", {})
        if "imported" in run:
            way = "as in the file of another program that was imported"
        elif settings.get("rounded"):
            way = (
                "scale and semantic are rounded to 0.1, and the granularity is 0.9 * scale + 0.1 * semantic where they "
                "differ by less than 0.1, else scale; it is rounded to 0.1 again"
            )
        else:
            weight, least = (settings.get(key, "unknown") for key in ("weight", "min_object_peak"))
            way = f"lambda is {weight}; where peak_object is below {least}, semantic is scale"
        found.append(f"{run['dataset']['name']}, {run['dataset']['split']}: {way}")
    return list(dict.fromkeys(found))
