"""What a database says of itself to other programs: croissant.json, CITATION.cff, the front matter of its card."""

import json
import logging
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from agg_pipeline.database.citing import citation_file
from agg_pipeline.database.contents import CITATION, CROISSANT, MANIFEST
from agg_pipeline.database.croissant import croissant
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import SUMMARIES, finish, finished
from agg_pipeline.database.reader import inspect_proposals, open_proposals
from agg_pipeline.database.selecting import reshard
from agg_pipeline.database.validation import validate
from schemas.findings import Finding
from schemas.tables import FILES, SAMPLING
from tests.database.changed_rows import changed


@pytest.fixture
def copy(finished_folder, tmp_path):
    """A copy of the database that a test may change."""
    shutil.copytree(finished_folder, tmp_path / "db")
    return tmp_path / "db"


def findings(folder):
    return list(validate(inspect_proposals(str(folder))))


def test_croissant_is_valid_and_reads_the_rows(finished_folder, whole, caplog):
    mlcroissant = pytest.importorskip("mlcroissant")
    with caplog.at_level(logging.WARNING):
        data = mlcroissant.Dataset(jsonld=str(finished_folder / CROISSANT))
    # Nothing in a database says when it was made.
    assert data.metadata.ctx.issues.errors == set()
    recommended = {text.split('"')[1] for text in data.metadata.ctx.issues.warnings}
    assert recommended == {"https://schema.org/datePublished", "https://schema.org/version"}
    assert "@context" not in caplog.text
    assert data.metadata.name == "Proposals of toy"
    for name in FILES:
        records = list(data.records(name))
        table = whole.table(name)
        assert len(records) == table.num_rows
        ids = [record[f"{name}/image_id"].decode() for record in records]
        assert sorted(ids) == sorted(table["image_id"].to_pylist())
    (row,) = whole.proposals().filter(whole.proposals()["kind"].to_numpy(False) == "part").slice(0, 1).to_pylist()
    (found,) = (
        record for record in data.records("proposals") if record["proposals/proposal_id"].decode() == row["proposal_id"]
    )
    assert found["proposals/rle"] == row["rle"]
    assert found["proposals/granularity"] == pytest.approx(row["granularity"], rel=1e-6)
    assert found["proposals/bbox"] == {f"proposals/bbox/{side}": value for side, value in row["bbox"].items()}
    assert [click["proposals/clicks/positive"] for click in found["proposals/clicks"]] == [
        click["positive"] for click in row["clicks"]
    ]
    assert len(list(data.records("sampling"))) > 0


def test_every_column_is_in_croissant(finished_folder):
    document = json.loads((finished_folder / CROISSANT).read_text())
    described = {each["@id"]: each["field"] for each in document["recordSet"]}
    assert list(described) == [*FILES, "sampling"]
    for name, schema in {**FILES, "sampling": SAMPLING}.items():
        assert [field["@id"] for field in described[name]] == [f"{name}/{column}" for column in schema.names]
        assert all(field["description"] for field in described[name])


def test_texts_of_a_data_set_do_not_break_the_bibtex(whole):
    manifest = json.loads((whole.store.read(MANIFEST)).decode())
    manifest["plan"]["dataset"] |= {"name": "a}b{c", "citation": '{"x"}', "homepage": "https://a.example"}
    document = json.loads(croissant(manifest, "0" * 64))
    assert document["citeAs"].count("{") == document["citeAs"].count("}") == 3
    assert document["url"] == "https://a.example"
    assert "url" not in json.loads(croissant({**manifest, "plan": whole.plan}, "0" * 64))


def test_citation_file(finished_folder, whole):
    content = yaml.safe_load((finished_folder / CITATION).read_text())
    assert (content["cff-version"], content["type"], content["title"]) == ("1.2.0", "dataset", "Proposals of toy")
    assert content["identifiers"][0]["value"] == database_id(whole)
    assert content["authors"] and content["message"]
    kinds = [reference["type"] for reference in content["references"]]
    assert kinds == ["data", "conference-paper"]
    assert all(reference["title"] and reference["authors"] for reference in content["references"])
    assert content["references"][0]["notes"] == "a citation"


def test_texts_of_a_data_set_do_not_break_the_citation_file(whole):
    manifest = json.loads((whole.store.read(MANIFEST)).decode())
    dataset = {"name": 'x: "y"\n- z', "citation": "é: #1 'a'", "homepage": "https://a.example/?q=1", "licence": "a: b"}
    manifest["plan"]["dataset"] |= dataset
    content = yaml.safe_load(citation_file(manifest))
    assert content["title"] == 'Proposals of x: "y"\n- z'
    assert content["references"][0] | {"authors": []} == {
        "type": "data",
        "title": dataset["name"],
        "notes": dataset["citation"],
        "url": dataset["homepage"],
        "authors": [],
    }


def test_data_sets_of_one_name_are_cited_each(whole):
    manifest = json.loads((whole.store.read(MANIFEST)).decode())
    (run,) = whole.sources
    said = ["A, 2020", "B, 2021", "A, 2020", ""]
    manifest["plan"]["sources"] = [run | {"dataset": run["dataset"] | {"citation": each}} for each in said]
    references = yaml.safe_load(citation_file(manifest))["references"]
    assert [(each["title"], each["notes"]) for each in references[:-1]] == [("toy", "A, 2020"), ("toy", "B, 2021")]


def test_they_do_not_change_the_identity_and_belong_to_the_database(copy, whole):
    assert findings(copy) == []
    (copy / CITATION).write_text("cff-version: 1.2.0\nauthors: [{name: Ada}]\n")
    assert findings(copy) == []
    assert database_id(open_proposals(str(copy))) == database_id(whole)


def test_changed_and_missing_files(copy):
    content = (copy / CROISSANT).read_bytes()
    (copy / CROISSANT).write_bytes(content + b" ")
    assert findings(copy) == [Finding(CROISSANT, "was changed after it was written")]
    opened = open_proposals(str(copy))
    assert finished(opened.store, opened.plan, opened.sidecars) is None
    (copy / CROISSANT).unlink()
    assert [found.where for found in findings(copy)] == [CROISSANT]
    finish(opened.store, opened.plan, opened.sidecars)
    assert (copy / CROISSANT).read_bytes() == content
    assert findings(copy) == []


def test_databases_without_them_are_whole(copy):
    """Those of earlier versions have neither."""
    opened = open_proposals(str(copy))
    manifest = opened.store.read_json(MANIFEST)
    del manifest[SUMMARIES][CROISSANT]
    opened.store.write_json(MANIFEST, manifest)
    (copy / CROISSANT).unlink()
    (copy / CITATION).unlink()
    assert finished(opened.store, opened.plan, opened.sidecars) == manifest
    assert findings(copy) == []


def test_names_that_people_added_stay_as_long_as_the_database(copy):
    opened = open_proposals(str(copy))
    named = (copy / CITATION).read_text().replace("The authors of this database", "Ada")
    (copy / CITATION).write_text(named)
    finish(opened.store, opened.plan, opened.sidecars)
    assert (copy / CITATION).read_text() == named
    (copy / CITATION).write_text(named.replace(database_id(opened), "0" * 64))
    finish(opened.store, opened.plan, opened.sidecars)
    assert "Ada" not in (copy / CITATION).read_text()


LOAD = """
import sys
from datasets import load_dataset
for name in ("proposals", "images", "rejects", "sampling"):
    rows = load_dataset(sys.argv[1], name, split="train")
    print(name, rows.num_rows, rows.column_names)
print(load_dataset(sys.argv[1], split="train").num_rows)
"""


@pytest.fixture(scope="module")
def sparse(whole, tmp_path_factory):
    """The database with an image per shard, so that every table has shards without rows."""
    folder = tmp_path_factory.mktemp("sparse")
    fewer = changed(whole, str(folder / "fewer"), "rejects", lambda row: row if row["image_id"] != "im_0" else None)
    database = reshard(fewer, str(folder / "db"), 1)
    for name in FILES:
        assert any(not database.table(name, shards=[index]).num_rows for index in database.sidecars)
    return database


@pytest.mark.parametrize("kind", ["whole", "sparse"])
def test_the_hub_s_library_reads_every_table(kind, request, tmp_path):
    pytest.importorskip("datasets")
    database = request.getfixturevalue(kind)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD, database.store.url]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    *tables, rows = ran.stdout.splitlines()
    schemas = {**FILES, "sampling": SAMPLING}
    sampling = sum(1 for _ in {*zip(*database.proposals(["kind", "bin"]).to_pydict().values(), strict=True)})
    sizes = {name: database.table(name).num_rows for name in FILES} | {"sampling": sampling}
    assert tables == [f"{name} {sizes[name]} {schemas[name].names}" for name in schemas]
    assert int(rows) == database.proposals().num_rows


READERS = {
    "duckdb": lambda module, folder: module.sql(f"select * from '{folder}/*.parquet'").fetchall(),
    "polars": lambda module, folder: module.read_parquet(f"{folder}/*.parquet"),
    "pandas": lambda module, folder: module.read_parquet(folder),
    "pyarrow.dataset": lambda module, folder: module.dataset(folder, format="parquet").to_table(),
}


@pytest.mark.parametrize("library", READERS)
def test_other_libraries_read_shards_without_rows(library, sparse):
    module = pytest.importorskip(library)
    assert findings(sparse.store.url) == []
    for name in FILES:
        assert len(READERS[library](module, f"{sparse.store.url}/{name}")) == sparse.table(name).num_rows
