"""The rows that a page filters are those of the database, however they are read."""

import io
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.web import loaded_rows
from agg_pipeline.web.loaded_rows import COLUMNS
from schemas.errors import UserError
from schemas.tables import FILES
from tests.toy_run import make_database

GOLDEN = Path(__file__).parents[1] / "database/golden"
PATH = "proposals/part-00000.parquet"


def given(connection):
    return {name: connection.execute(f"select * from given_{name}").fetchall() for name in COLUMNS}


def alone(monkeypatch, reading):
    """Let one way of reading be the only one."""

    def never(_database):
        raise AssertionError("the other way was taken")

    monkeypatch.setattr(loaded_rows, {"together": "_read_one_by_one", "one by one": "_read_together"}[reading], never)


def changed(store, edit):
    rows = pq.read_table(io.BytesIO(store.read(PATH))).to_pylist()
    store.write(PATH, parquet_bytes(pa.Table.from_pylist(edit(rows), FILES["proposals"])))


@pytest.mark.parametrize("folder", sorted(path.name for path in GOLDEN.iterdir() if (path / "database").is_dir()))
def test_all_files_together_have_the_rows_of_the_database(folder, monkeypatch):
    database = open_proposals(str(GOLDEN / folder / "database"))
    alone(monkeypatch, "together")
    connection = loaded_rows.loaded_rows(database)
    for name, columns in COLUMNS.items():
        rows = [tuple(row.values()) for row in database.table(name, columns).to_pylist()]
        assert sorted(connection.execute(f"select * from given_{name}").fetchall(), key=str) == sorted(rows, key=str)
    planned = [image for shard in database.plan["shards"] for image in shard]
    assert connection.execute("select image_id from planned order by place").fetchall() == [(each,) for each in planned]


def test_only_finished_shards_are_read(built):
    (Path(built.url) / "shards/part-00001.json").unlink()
    database = open_proposals(built.url)
    connection = loaded_rows.loaded_rows(database)
    images = {row[0] for row in given(connection)["proposals"]}
    assert images == set(database.proposals(["image_id"])["image_id"].to_pylist())
    assert not images & set(database.plan["shards"][1])
    assert connection.execute("select max(place) from planned").fetchall() == [(4,)]


@pytest.mark.parametrize("name", ["a[b]c", "50%", "it's", "star*"])
def test_names_of_folders_are_no_patterns(tmp_path, name):
    make_database(tmp_path / "a*" / "database")
    store = make_database(tmp_path / name / "database")
    database = open_proposals(store.url)
    assert len(given(loaded_rows.loaded_rows(database))["proposals"]) == database.proposals().num_rows


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda rows: [{**row, "kind": "x"} for row in rows], "unknown kind"),
        (lambda rows: [{**row, "granularity": float("nan")} for row in rows], "granularity that is not from 0 to 1"),
        (lambda rows: [*rows[:-1], {**rows[-1], "granularity": 1.5}], "granularity that is not from 0 to 1"),
        (lambda rows: [*rows[:-1], {**rows[-1], "source": 4}], "rows of source 4"),
        (lambda rows: [*rows[:-1], {**rows[-1], "area": 0}], "area of 0 pixels"),
    ],
)
def test_impossible_values_are_named_with_their_file(built, edit, problem):
    changed(built, edit)
    with pytest.raises(UserError, match=problem) as caught:
        loaded_rows.loaded_rows(open_proposals(built.url))
    assert PATH in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1 no table PAR1", None])
def test_damaged_and_missing_files_are_named(built, content):
    file = Path(built.url) / PATH
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match="part-00000"):
        loaded_rows.loaded_rows(open_proposals(built.url))


def test_what_visitors_ask_reaches_no_file(built):
    connection = loaded_rows.loaded_rows(open_proposals(built.url))
    with pytest.raises(duckdb.Error, match=r"[Pp]ermission|disabled"):
        connection.execute("select * from read_text('/etc/hostname')")


def test_other_stores_are_read_one_by_one(built, monkeypatch):
    together = given(loaded_rows.loaded_rows(open_proposals(built.url)))
    monkeypatch.setattr("agg_pipeline.storage.store.Store.is_local", lambda _store: False)
    alone(monkeypatch, "one by one")
    assert given(loaded_rows.loaded_rows(open_proposals(built.url))) == together
