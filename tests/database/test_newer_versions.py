"""Databases of a later minor version, which may have more columns, keys and reasons; other major versions."""

import json

import pyarrow as pa
import pytest

from agg_pipeline.database.derived import derived_plan, pieces, source_runs, write_derived
from agg_pipeline.database.differences import compare
from agg_pipeline.database.exchange.coco_export import export_coco
from agg_pipeline.database.exchange.coco_import import import_coco
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.selecting import filter_database
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.naming import NOTHING_SAID
from schemas.canonical import content_hash
from schemas.errors import UserError
from schemas.tables import FORMAT_MINOR
from tests.toy_run import make_database


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return open_proposals(make_database(tmp_path_factory.mktemp("whole")).url)


def newer_version(whole, out, *columns):
    """The toy database of a later version: columns and a key more, and a reason that is not known here.

    Args:
        whole: the toy database.
        out: folder of the new one.
        columns: name, type and value of every new column.
    """
    facts = derived_plan([whole], source_runs(whole), "test", {}) | {"format_minor": FORMAT_MINOR + 1, "mood": "good"}
    facts = {key: value for key, value in facts.items() if key not in ("config_hash", "shards")}
    plan = facts | {"config_hash": content_hash(facts), "shards": []}

    def changed():
        for piece in pieces(whole):
            proposals = piece.tables["proposals"]
            for name, kind, value in columns:
                field = pa.field(name, kind, metadata={"unit": "[0, 1]", "nullable": "true"})
                proposals = proposals.append_column(field, pa.array([value] * proposals.num_rows, kind))
            rows = piece.tables["rejects"].to_pylist()
            rows[0]["reason"] = "ugly"
            rejects = pa.Table.from_pylist(rows, piece.tables["rejects"].schema)
            for name, kind, value in columns:
                rejects = rejects.append_column(pa.field(name, kind), pa.array([value] * len(rows), kind))
            tables = {"proposals": proposals, "rejects": rejects}
            yield type(piece)(piece.images, {**piece.tables, **tables})

    return write_derived(str(out), plan, changed())


SCORE = ("score", pa.float32(), 0.5)


@pytest.fixture(scope="module")
def newer(whole, tmp_path_factory):
    return newer_version(whole, tmp_path_factory.mktemp("newer") / "x", SCORE)


def test_it_is_valid_and_read(newer):
    assert list(validate(newer)) == []
    assert newer.minor == FORMAT_MINOR + 1
    assert set(newer.proposals()["score"].to_pylist()) == {0.5}
    assert "ugly" in newer.rejects()["reason"].to_pylist()


def test_its_columns_pass_through(newer, whole, tmp_path):
    some = filter_database(newer, str(tmp_path / "some"), where="score > 0.4", images=["im_1", "im_2"])
    assert set(some.proposals()["score"].to_pylist()) == {0.5}
    rest = filter_database(whole, str(tmp_path / "rest"), images=["im_5"])
    merged = merge([some, rest], str(tmp_path / "merged"))
    assert {row["image_id"]: row["score"] for row in merged.proposals().to_pylist()} == {
        **dict.fromkeys(("im_1", "im_2"), 0.5),
        "im_5": None,
    }
    for database in (some, merged):
        assert database.minor == FORMAT_MINOR + 1
        assert list(validate(database)) == []


@pytest.mark.parametrize(
    ("columns", "differing"),
    [
        ([SCORE], []),
        ([("score", pa.float32(), 0.25)], ["score"]),
        ([("score", pa.float64(), 0.5)], ["score"]),
        ([("score", pa.float32(), None)], ["score"]),
        ([("other", pa.float32(), 0.5)], ["other", "score"]),
        ([SCORE, ("other", pa.list_(pa.string()), ["x"])], ["other"]),
    ],
)
def test_its_columns_are_compared(newer, whole, tmp_path, columns, differing):
    other = newer_version(whole, tmp_path / "other", *columns)
    assert compare(newer, other).columns == {("proposals", name): whole.proposals().num_rows for name in differing}
    assert compare(newer, other).rejects.only_a == (newer.rejects().num_rows if differing else 0)
    assert compare(newer, other).any == (database_id(newer) != database_id(other))
    assert compare(other, newer).columns == compare(newer, other).columns


def test_columns_in_another_order_do_not_differ(whole, tmp_path):
    more = (SCORE, ("other", pa.float32(), float("nan")))
    one, two = (newer_version(whole, tmp_path / name, *order) for name, order in (("a", more), ("b", more[::-1])))
    assert database_id(one) == database_id(two)
    assert not compare(one, two).any


def test_an_export_has_its_reasons(newer, tmp_path):
    export_coco(newer, tmp_path / "x.json")
    made = import_coco(tmp_path / "x.json", str(tmp_path / "made"), NOTHING_SAID)
    assert "ugly" in made.rejects()["reason"].to_pylist()
    assert list(validate(made)) == []
    assert database_id(made) != database_id(newer), "the column is not in the export"


def test_another_major_version_is_refused(whole, tmp_path):
    made = filter_database(whole, str(tmp_path / "x"), images=["im_1"])
    path = tmp_path / "x/plan.json"
    path.write_text(json.dumps(made.plan | {"format_version": 2}))
    with pytest.raises(UserError, match="has format 2, and this version of agg reads 1"):
        open_proposals(str(tmp_path / "x"))
