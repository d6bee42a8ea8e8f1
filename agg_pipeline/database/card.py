"""The dataset card that a database carries: Hugging Face front matter and a description, filled from the manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from agg_pipeline.database.description import description
from agg_pipeline.database.history import history_lines
from agg_pipeline.database.hub_licences import front_matter
from agg_pipeline.database.image_licences import IMAGE_LICENCES, stated_licences
from agg_pipeline.execution.plan import sources
from schemas.canonical import Json
from schemas.tables import FILES, REASONS, SAMPLING
from schemas.words import excerpt, plural

TEMPLATE = "card.md.j2"


def dataset_card(manifest: Json, photograph: pa.Field | None = None) -> str:
    """The text of the database's README.md.

    Args:
        manifest: the manifest, with the identity and the sources.
        photograph: column of the photographs in ``images``, of an export that has tables and card alone; None for none.
    """
    tables = {
        name: [
            {"name": field.name, "type": str(field.type), "unit": (field.metadata or {})[b"unit"].decode()}
            for field in ([photograph] if photograph is not None and name == "images" else []) + list(schema)
        ]
        for name, schema in {**FILES, "sampling": SAMPLING}.items()
    }
    # Markdown: nothing is escaped.
    loader = PackageLoader("agg_pipeline", "database")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"cell": _cell, "plural": plural}
    plan = manifest["plan"]
    about = description(plan)
    of_images = manifest.get(IMAGE_LICENCES, {"counts": {}, "others": 0})
    of_data = (run["dataset"]["licence"] for run in sources(plan))
    others = ["others"] if of_images["others"] else []
    of_each = (licence for text in of_images["counts"] for licence in stated_licences(text))
    licences = list(dict.fromkeys([*of_data, *of_each, *others]))
    return environment.get_template(TEMPLATE).render(
        manifest=manifest,
        about=about,
        totals=manifest["totals"],
        tables=tables,
        reasons=REASONS,
        parts=sum(manifest["totals"]["proposals"].values()) - manifest["totals"]["objects"],
        photographs=photograph is not None,
        hub={key: json.dumps(value) for key, value in front_matter(licences, about.homepages).items()},
        image_licences=_image_licences(of_images),
        made=list(history_lines(manifest["sources"], plan.get("history", []))),
        estimators=_estimators(sources(plan)),
    )


def _image_licences(found: Json) -> str:
    """The licences of the images in words; "" if they are those of the data sets."""
    parts = [f"{excerpt(licence)} ({plural(images, 'image')})" for licence, images in found["counts"].items()]
    others = [f"others ({plural(found['others'], 'image')})"] if found["others"] else []
    return "; ".join(parts + others)


def _cell(text: object) -> str:
    """A text in a cell of a table."""
    return str(text).replace("|", "\\|")


def _estimators(runs: Sequence[Json]) -> list[str]:
    """How each run has combined scale and semantic granularity, in words; each way of some data once.

    The sources are named where there are several ways for the same data.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for number, run in enumerate(runs):
        data = f"{run['dataset']['name']}, {run['dataset']['split']}"
        found.setdefault(data, {}).setdefault(_estimator(run), []).append(number)
    return [
        f"{data}{_named(numbers) if len(ways) > 1 else ''}: {way}"
        for data, ways in found.items()
        for way, numbers in ways.items()
    ]


def _named(numbers: Sequence[int]) -> str:
    """Some sources by their numbers."""
    return f" ({'source' if len(numbers) == 1 else 'sources'} {', '.join(map(str, numbers))})"


def _estimator(run: Json) -> str:
    """How a run has combined scale and semantic granularity, in words."""
    settings = run["config"].get("granularity", {})
    rounded = (
        "scale and semantic are rounded to 0.1, and the granularity is 0.9 * scale + 0.1 * semantic, instead of the "
        "formula above, where they differ by less than 0.1, else scale; it is rounded to 0.1 again"
    )
    if "imported" in run:
        return (
            rounded
            if run["imported"]["format"] == "released"
            else "as in the file of another program that was imported"
        )
    if settings.get("rounded"):
        return rounded
    weight, least = (settings.get(key, "unknown") for key in ("weight", "min_object_peak"))
    return f"lambda is {weight}; where peak_object is below {least}, semantic is scale"
