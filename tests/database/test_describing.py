"""Databases whose data get another name, licence or citation."""

import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.describing import describe
from agg_pipeline.database.history import history_lines
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.recomputing import recompute
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.naming import Naming
from agg_pipeline.execution.plan import layout_of
from schemas.errors import UserError
from tests.database.changed_rows import changed
from tests.database.test_golden import GOLDEN
from tests.toy_run import make_database


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return open_proposals(make_database(tmp_path_factory.mktemp("whole")).url)


def rows(database, table):
    return database.table(table).to_pylist()


def test_everything_but_the_naming_stays(whole, tmp_path):
    naming = Naming("Streets", "CC0-1.0", homepage="https://streets.example")
    made = describe(whole, str(tmp_path / "made"), naming)
    assert list(validate(made)) == []
    for table in ("proposals", "rejects", "images"):
        assert rows(made, table) == rows(whole, table), "the images have a licence of their own"
    (run,) = made.plan["sources"]
    assert {key: run["dataset"][key] for key in ("name", "licence", "citation", "homepage")} == {
        "name": "Streets",
        "licence": "CC0-1.0",
        "citation": "a citation",
        "homepage": "https://streets.example",
    }
    assert run["dataset"]["layout"] == "toy"
    assert run["as_made"] == {"dataset.homepage": "a page", "dataset.licence": "a licence", "dataset.name": "toy"}
    card = (tmp_path / "made/README.md").read_text()
    assert "| licence of the data | CC0-1.0 |" in card
    for line in history_lines(made.plan["sources"], made.plan["history"]):
        assert f"- {line}" in card
    assert "describe of" in card
    metadata = pq.read_schema(tmp_path / "made/proposals/part-00000.parquet").metadata
    assert metadata[b"agg.licence"] == b"CC0-1.0"


def test_the_log_says_what_the_run_had_when_it_made_its_rows(whole, tmp_path):
    once = describe(whole, str(tmp_path / "once"), Naming("Streets"))
    twice = recompute(describe(once, str(tmp_path / "twice"), Naming("Roads")), str(tmp_path / "x"), 0.25)
    line, *_ = history_lines(twice.plan["sources"], twice.plan["history"])
    assert line.startswith(f"source 0: run {database_id(whole)[:12]} on Roads, val, with toy")
    assert line.endswith('lambda 0.25; changed since: config.granularity.weight was 0.5, dataset.name was "toy"')
    assert f"- {line}" in twice.store.read("README.md").decode()
    assert twice.sources[0]["id"] == database_id(whole)
    assert list(validate(twice)) == []


def test_images_with_the_licence_of_their_data_get_the_new_one(whole, tmp_path):
    def change(row):
        return row | ({"licence": "a licence"} if row["image_id"] == "im_1" else {})

    licensed = changed(whole, str(tmp_path / "licensed"), "images", change)
    made = describe(licensed, str(tmp_path / "made"), Naming(licence="CC0-1.0"))
    found = {row["image_id"]: row["licence"] for row in rows(made, "images")}
    assert found == {image: "CC0-1.0" if image == "im_1" else "none" for image in found}
    assert len(found) > 1


def test_one_of_several_runs_is_chosen(whole, tmp_path):
    other = describe(whole, str(tmp_path / "other"), Naming("Other"))
    both = merge([whole, other], str(tmp_path / "both"))
    with pytest.raises(UserError, match="rows of 2 runs; choose the one whose data to change with --source NUMBER"):
        describe(both, str(tmp_path / "made"), Naming(licence="MIT"))
    with pytest.raises(UserError, match=r"--source 2: .* has rows of 2 runs, numbered from 0"):
        describe(both, str(tmp_path / "made"), Naming(licence="MIT"), 2)
    made = describe(both, str(tmp_path / "made"), Naming(licence="MIT"), 1)
    assert [run["dataset"]["licence"] for run in made.plan["sources"]] == ["a licence", "MIT"]


def test_data_of_format_1_0_keep_their_layout_under_another_name(tmp_path):
    old = open_proposals(GOLDEN / "1.0-run")
    made = describe(old, str(tmp_path / "made"), Naming("Streets"))
    (run,) = made.sources
    assert (run["dataset"]["name"], layout_of(run)) == ("Streets", old.plan["dataset"]["name"])
    assert list(validate(made)) == []
