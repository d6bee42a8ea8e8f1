"""Writes the JSON Schemas of the documents of a database, from the types that readers check them with.

``python -m tools.json_schemas`` after a change of ``schemas/documents.py``; a test compares the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from schemas.documents import CombinedPlan, Manifest, Plan, ProposalCounts, Sidecar

FOLDER = Path(__file__).resolve().parents[1] / "schemas" / "json"
DOCUMENTS = {
    "plan.schema.json": ("plan.json of a run", (Plan,)),
    "combined-plan.schema.json": ("plan.json of a database that was made from others", (CombinedPlan,)),
    "manifest.schema.json": ("manifest.json of a database", (Manifest,)),
    "sidecar.schema.json": ("shards/part-NNNNN.json of a database", (Sidecar, ProposalCounts)),
}


def schemas() -> dict[str, str]:
    """The text of every file, by its name."""
    return {name: _text(title, kinds) for name, (title, kinds) in DOCUMENTS.items()}


def _text(title: str, kinds: Sequence[Any]) -> str:
    parts, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "allOf": list(parts),
        "$defs": definitions,
    }
    return json.dumps(_ordered(schema), indent=2, sort_keys=True) + "\n"


def _ordered(schema: Any) -> Any:
    """A schema with its alternatives in an order of their own: versions of msgspec differ in theirs."""
    if isinstance(schema, list):
        return [_ordered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: _ordered(value) for key, value in schema.items()}
    if "anyOf" in inside:
        inside["anyOf"].sort(key=lambda each: json.dumps(each, sort_keys=True))
    return inside


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text)
