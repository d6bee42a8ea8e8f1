"""Opening a folder of results whose tables or summary somebody changed: one line, and little memory."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.evaluation.compare import comparison, same_masks
from agg_pipeline.evaluation.per_class import class_granularities
from agg_pipeline.evaluation.results_folder import open_results, with_checksums
from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.execution.shard_files import file_facts
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import UserError
from schemas.numbers import GRANULARITIES
from tests.e2e.commands import error_of, invoke
from tests.evaluation.conftest import make_plan, make_run, make_tables

AGAIN = "; run the same evaluation again, which writes it again"
CURVES = {"mode": "curves", "clicks": {"max_clicks": 2, "early_stop": False}}


def write(folder, tables, checksums, **changes):
    """Results as the present version writes them or, without checksums, as version 0.1.0 did."""
    store = Store(str(folder))
    contents = {f"{name}.parquet": parquet_bytes(table) for name, table in tables.items()}
    for path, content in contents.items():
        store.write(path, content)
    summary = summarise(tables, make_plan(**changes))
    if checksums:
        facts = {f"{name}.parquet": file_facts(table, contents[f"{name}.parquet"]) for name, table in tables.items()}
        summary = with_checksums(summary, facts)
    store.write_json("summary.json", summary)
    return store


def curves():
    """An object and a part with ten interactions of two clicks each; IoUs and areas differ."""
    runs = [make_run([g / 2, 0.5 + (g == 0.3) * 0.45], g, g == 0.3, [round(100 * g), 90]) for g in GRANULARITIES]
    return make_tables([("a", "object", "cat", 500, runs), ("a", "part", "cat ear", 50, runs)])


@pytest.fixture
def old(tmp_path):
    """Results of version 0.1.0, whose rows are all that can be checked."""
    return write(tmp_path / "old", curves(), False, **CURVES)


@pytest.fixture
def new(tmp_path):
    return write(tmp_path / "new", curves(), True, **CURVES)


def rewrite(store, name, change):
    """Change the rows of a table, given as Arrow table."""
    store.write(name, parquet_bytes(change(pq.read_table(io.BytesIO(store.read(name))))))


def with_value(table, column, value, row=0):
    values = table[column].to_pylist()
    values[row] = value
    number = table.schema.get_field_index(column)
    return table.set_column(number, table.schema.field(number), pa.array(values, table.schema.field(number).type))


def refused(store):
    with pytest.raises(UserError) as error:
        open_results(store.url)
    return str(error.value)


def damaged(store, what):
    return f"the tables in {store.url} are damaged ({what}){AGAIN}"


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("iou", 5.0, "objects.parquet has the iou 5.0; it must be from 0 to 1"),
        ("iou", float("nan"), "objects.parquet has the iou nan; it must be from 0 to 1"),
        ("area", -1, "objects.parquet has the area -1; it must be from 0 to 10000"),
        ("area", 10001, "objects.parquet has the area 10001; it must be from 0 to 10000"),
        ("granularity", 7.0, "objects.parquet has the granularity 7.0; it must be from 0 to 1"),
        ("granularity", float("nan"), "objects.parquet has the granularity nan; it must be from 0 to 1"),
        ("click", 3, "objects.parquet has another click in row 1 than follows from the row before"),
        ("attempt", 2**31 - 1, "objects.parquet has another click in row 2 than follows from the row before"),
        ("target_id", "x:0:object:0", "objects.parquet has clicks on the mask x:0:object:0, which targets.parquet"),
    ],
)
def test_rows_of_clicks_are_checked(old, column, value, what):
    rewrite(old, "objects.parquet", lambda table: with_value(table, column, value))
    assert refused(old).startswith(f"the tables in {old.url} are damaged ({what}")


def test_a_granularity_that_is_missing_is_another_one(old):
    rewrite(
        old, "objects.parquet", lambda table: with_value(with_value(table, "granularity", None), "granularity", None, 1)
    )
    what = "objects.parquet has other granularities than 0.1, 0.2, ..., 1.0 for the mask a:0:object:0 in mode curves"
    assert refused(old) == damaged(old, what)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("target", float("nan"), "the target nan; it must be from 0 to 1"),
        ("target", -5.0, "the target -5.0; it must be from 0 to 1"),
        ("target", 1e30, "the target 1e+30; it must be from 0 to 1"),
        ("area", 0, "the area 0; it must be from 1 to 10000"),
        ("area", -5, "the area -5; it must be from 1 to 10000"),
        ("height", 0, "the height 0; it must be at least 1"),
        ("level", "\x1b[31m", r"the level '\x1b[31m' in row 1; possible: object, part"),
        ("level", "part", "the mask a:0:object:0 with another image or level than its id says"),
        ("image_id", "b", "the mask a:0:object:0 with another image or level than its id says"),
    ],
)
def test_rows_of_masks_are_checked(old, column, value, what):
    rewrite(old, "targets.parquet", lambda table: with_value(table, column, value))
    assert refused(old) == damaged(old, f"targets.parquet has {what}")


def test_a_mask_is_there_once(old):
    rewrite(old, "targets.parquet", lambda table: table.take(pa.array([0, 0])))
    summary = old.read_json("summary.json")
    assert refused(old) == damaged(old, "targets.parquet has other masks than summary.json says")
    tables = {"targets": pq.read_table(f"{old.url}/targets.parquet"), "objects": curves()["objects"]}
    with pytest.raises(ValueError, match=r"^targets.parquet has the mask a:0:object:0 2 times$"):
        summarise(tables | {"rejects": curves()["rejects"]}, summary["plan"])


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (lambda table: table.filter(table["chosen"]), "another interaction in row 1 than follows from the row before"),
        (lambda table: table.slice(0, 38), "9 interactions instead of 10 for the mask a:1:part:0 in mode curves"),
        (lambda table: table.slice(0, 20), "does not have one block of rows for the mask a:1:part:0"),
        (lambda table: table.take(pa.array(range(39, -1, -1))), "another click in row 1"),
        (lambda table: pa.concat_tables([table.slice(0, 20), table.slice(0, 20)]), "one block of rows"),
        (
            lambda table: with_value(with_value(table, "chosen", True), "chosen", True, 1),
            "exactly one chosen interaction",
        ),
    ],
)
def test_every_mask_has_its_interactions(old, rows, what):
    rewrite(old, "objects.parquet", rows)
    assert what in refused(old)


def test_an_interaction_has_no_more_clicks_than_the_summary_says(tmp_path):
    tables = make_tables(
        [("a", "object", "cat", 9, [make_run([0.1, 0.2, 0.3])]), ("b", "object", "cat", 9, [make_run([0.95])])]
    )
    store = write(tmp_path, tables, False)
    change_summary(store, 2, "plan", "config", "clicks", "max_clicks")
    what = "objects.parquet has 3 clicks instead of at most 2 for the mask a:0:object:0 in mode none"
    assert refused(store) == damaged(store, what)


def change_summary(store, value, *keys):
    summary = inner = store.read_json("summary.json")
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    store.write_json("summary.json", summary)


@pytest.mark.parametrize(
    ("keys", "value", "problem"),
    [
        (("clicks", "max_clicks"), 0, "'clicks.max_clicks' is 0; it must be from 1 to 1000"),
        (("clicks", "max_clicks"), 2**62, f"'clicks.max_clicks' is {2**62}; it must be from 1 to 1000"),
        (("seed",), -1, f"'seed' is -1; it must be from 0 to {2**63 - 1}"),
        (("attempts",), 10**9, "'attempts' is 1000000000; it must be from 1 to 1000"),
        (("mode",), "x", "'mode' is 'x'; possible: none, fixed, per_class, optimal, curves, best_of"),
        (("clicks", "part_target"), 2.0, "'clicks.part_target' is 2.0; it must be from 0 to 1"),
        (("clicks", "part_target"), "x", "'clicks.part_target' is 'x'; a value of type float is needed"),
    ],
)
def test_settings_are_in_their_ranges(old, keys, value, problem):
    change_summary(old, value, "plan", "config", *keys)
    line = f"{old.url}/summary.json: configuration key {problem}{AGAIN}"
    assert refused(old) == line
    if keys != ("mode",):
        with pytest.raises(UserError) as error:
            class_granularities(old.url)
        assert str(error.value) == line


def test_a_mode_of_more_interactions_is_refused_by_the_command(tmp_path):
    tables = make_tables([("a", "object", "cat", 9, [make_run([0.1, 0.95])])])
    store = write(tmp_path / "results", tables, False)
    change_summary(store, "optimal", "plan", "config", "mode")
    what = "objects.parquet has 1 interaction instead of 10 for the mask a:0:object:0 in mode optimal"
    assert error_of(invoke("eval", "compare", store.url)) == damaged(store, what)


def test_a_level_without_figures_for_granularities_is_one_line(old):
    change_summary(old, None, "levels", "part", "all", "granularity")
    with pytest.raises(UserError, match="because it lacks 'granularity'; run the same evaluation again"):
        class_granularities(old.url)
    levels = old.read_json("summary.json")["levels"]
    change_summary(old, {"\x1b[31m" + 500 * "x": levels["object"]}, "levels")
    with pytest.raises(UserError) as error:
        class_granularities(old.url)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < len(old.url) + 400


def test_results_without_checksums_give_the_same_comparison(old, new):
    tables = [comparison(same_masks([open_results(each.url)], intersect=False), False) for each in (old, new)]
    names = [[(table.title, table.head, table.rows[0][1:]) for table in each] for each in tables]
    assert names[0] == names[1]
    assert [title for title, *_ in names[0]] == [
        "objects of sbd, 1 mask of 1 image; means",
        "parts of sbd, 1 mask of 1 image; means",
    ]


def test_the_summary_gets_the_facts_of_the_tables_and_nothing_else(old, new):
    before, after = (each.read_json("summary.json") for each in (old, new))
    assert after == before | {"files": after["files"], "checksum": after["checksum"]}
    assert sorted(after["files"]) == [f"{name}.parquet" for name in ("masks", "objects", "rejects", "targets")]
    assert after["files"]["objects.parquet"]["rows"] == 40
    assert all(after["files"][path]["bytes"] == len(new.read(path)) for path in after["files"])


@pytest.mark.parametrize("name", ["objects.parquet", "targets.parquet"])
@pytest.mark.parametrize("change", ["other rows", "one byte"])
def test_changed_tables_are_refused(new, name, change):
    if change == "one byte":
        content = bytearray(new.read(name))
        content[len(content) // 3] ^= 1
        new.write(name, bytes(content))
    else:
        column, value = ("iou", 0.1) if name == "objects.parquet" else ("target", 0.5)
        rewrite(new, name, lambda table: with_value(table, column, value))
    assert refused(new) == f"{new.url}/{name} cannot be read (it was changed after it was written){AGAIN}"


@pytest.mark.parametrize(
    "keys", [("plan", "config", "clicks", "early_stop"), ("plan", "dataset", "name"), ("rejects",)]
)
def test_a_changed_summary_is_refused(new, keys):
    change_summary(new, {"early_stop": True, "name": "davis", "rejects": {"empty": 1}}[keys[-1]], *keys)
    assert refused(new) == f"{new.url}/summary.json was changed after it was written{AGAIN}"


def test_rows_are_bounded_by_the_masks_before_they_are_read(old, monkeypatch):
    """A file of 5 KB with a million rows."""
    table = pq.read_table(io.BytesIO(old.read("objects.parquet")))
    rows = pa.array(np.concatenate([np.arange(40), np.full(10**6, 39)]))
    sink = io.BytesIO()
    pq.write_table(table.take(rows), sink, compression="zstd")
    old.write("objects.parquet", sink.getvalue())
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("the rows are read"), raising=True)
    monkeypatch.setattr("agg_pipeline.evaluation.results_folder._read_masks", lambda *_: curves()["targets"])
    where = f"{old.url}/objects.parquet cannot be read"
    assert refused(old) == f"{where} (it has 1,000,040 rows; the limit is 40){AGAIN}"


def test_a_summary_cannot_claim_any_number_of_masks(old):
    change_summary(old, 2**62, "masks")
    assert refused(old) == damaged(old, "targets.parquet has other masks than summary.json says")
    assert limits.RESULT_MASKS * limits.SEGMENTATION_BYTES > limits.RESULT_TABLE_BYTES


def test_results_with_other_levels_of_a_mask_are_not_compared(old, new):
    first, second = open_results(old.url), open_results(new.url)
    second.facts["a:0:object:0"] = (*second.facts["a:0:object:0"][:2], "part")
    with pytest.raises(UserError, match=r"^mask a:0:object:0 or its image differs between "):
        same_masks([first, second], intersect=True)


def test_json_of_the_summary_is_what_its_checksum_is_of(new):
    summary = json.loads(new.read("summary.json"))
    files = summary.pop("files")
    del summary["checksum"]
    assert with_checksums(summary, files) == json.loads(new.read("summary.json"))
