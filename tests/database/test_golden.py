"""Databases of all published versions of the format are read as on the day when they were written."""

import json
from pathlib import Path

import pytest

from agg_pipeline.database.identity import database_id
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.selecting import reshard
from agg_pipeline.database.validation import validate
from schemas.tables import FILES
from tests.database.golden_rows import TABLES, all_rows

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir())


@pytest.fixture(params=NAMES)
def golden(request):
    return GOLDEN / request.param


def expected(golden):
    return json.loads((golden / "expected.json").read_text())


def test_there_is_one_of_every_version():
    assert {name.partition("-")[0] for name in NAMES} == {"1.0", "1.1"}


def test_any_reader_finds_the_rows(golden):
    assert all_rows(golden / "database") == expected(golden)["rows"]


def test_this_program_finds_them_and_the_identity(golden):
    database = open_proposals(str(golden / "database"))
    assert list(validate(database)) == []
    assert database_id(database) == expected(golden)["id"]
    for name in TABLES:
        table = database.table(name)
        assert table.schema.names[: len(FILES[name])] == FILES[name].names
        found = table.to_pylist()
        for row, of in zip(found, expected(golden)["rows"][name], strict=True):
            # Format 1.0 has no column source; all rows are of one run.
            assert row == {"source": 0, **of} | ({"rle": of["rle"].encode()} if "rle" in of else {})
    assert {row["kind"] for row in expected(golden)["rows"]["proposals"]} >= {"object", "part", "complement"}
    assert expected(golden)["rows"]["rejects"]


def test_they_can_be_combined(golden, tmp_path):
    database = open_proposals(str(golden / "database"))
    other = open_proposals(str(GOLDEN / NAMES[0] / "database"))
    assert database_id(reshard(database, str(tmp_path / "reshard"), 1)) == database_id(database)
    # The image that could not be read is another one in other data.
    merged = merge([database, other], str(tmp_path / "merged"), conflicts="rename")
    assert list(validate(merged)) == []
