"""The JSON Schemas of the documents of a database."""

import json
from pathlib import Path

import jsonschema
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.execution.shard_files import sidecars
from tools.json_schemas import FOLDER, schemas


@pytest.mark.parametrize("name", schemas())
def test_the_files_are_those_of_the_types(name):
    assert (FOLDER / name).read_text() == schemas()[name], "run python -m tools.json_schemas"


def schema(name):
    return json.loads((FOLDER / name).read_text())


def test_the_documents_of_a_database_are_valid(built, toy_plan):
    finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    root = Path(built.url)
    for path, name in (("plan.json", "plan"), ("manifest.json", "manifest"), ("shards/part-00000.json", "sidecar")):
        document = json.loads((root / path).read_text())
        jsonschema.validate(document, schema(f"{name}.schema.json"))
        del document[{"plan": "shards", "manifest": "totals", "sidecar": "files"}[name]]
        with pytest.raises(jsonschema.ValidationError, match="is a required property"):
            jsonschema.validate(document, schema(f"{name}.schema.json"))


GOLDEN = Path(__file__).parents[1] / "database" / "golden"


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_the_documents_of_all_published_databases_are_valid(name):
    root = GOLDEN / name / "database"
    plan = "combined-plan" if "sources" in json.loads((root / "plan.json").read_text()) else "plan"
    for path, kind in (("plan.json", plan), ("manifest.json", "manifest"), ("shards/part-00000.json", "sidecar")):
        jsonschema.validate(json.loads((root / path).read_text()), schema(f"{kind}.schema.json"))
