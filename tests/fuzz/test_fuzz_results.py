"""Results of an evaluation with any rows, bytes or summary: a comparison, or one line."""

import tempfile
from functools import cache

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.evaluation.compare import comparison, same_masks, without_published
from agg_pipeline.evaluation.per_class import class_granularities
from agg_pipeline.evaluation.results_folder import open_results
from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.numbers import GRANULARITIES
from schemas.tables import CLICKS, TARGETS
from tests.evaluation.conftest import make_plan, make_run, make_tables
from tests.fuzz.mutations import fuzzed, fuzzed_in_every_way, mutated_bytes, mutated_json, outcome

TABLES = {"objects": CLICKS, "targets": TARGETS}
PLAN = make_plan(mode="curves", clicks={"max_clicks": 2, "early_stop": False})
TEXTS = ("", "object", "part", "a:0:object:0", "a:1:part:0", "b", "\x1b[2J", "a\nb", "é\u202e", 4000 * "a")
VALUES = {
    pa.float64(): st.one_of(st.floats(), st.sampled_from([0.1, 0.9, 1.0])),
    pa.int32(): st.one_of(st.integers(-2, 12), st.sampled_from([-(2**31), 2**31 - 1])),
    pa.int64(): st.one_of(st.integers(-2, 12), st.sampled_from([-(2**63), 2**63 - 1])),
    pa.bool_(): st.booleans(),
    pa.string(): st.sampled_from(TEXTS),
    pa.binary(): st.binary(max_size=8),
}


@cache
def folders():
    """Two folders with the same results without checksums, their tables, and their summary."""
    runs = [make_run([g / 2, 0.5 + (g == 0.3) * 0.45], g, g == 0.3, [round(100 * g), 90]) for g in GRANULARITIES]
    tables = make_tables([("a", "object", "cat", 500, runs), ("a", "part", None, 50, runs)])
    summary = summarise(tables, PLAN)
    stores = [Store(tempfile.mkdtemp(prefix=f"fuzz-results-{name}-")) for name in ("good", "changed")]
    for store in stores:
        for name, table in tables.items():
            store.write(f"{name}.parquet", parquet_bytes(table))
        store.write_json("summary.json", summary)
    return *stores, tables, summary


def target(path, content):
    """Put a file into a folder of results, and read it in every way."""
    good, changed, *_ = folders()
    before = changed.read(path)
    changed.write(path, content)
    try:
        opened = [open_results(good.url), open_results(changed.url)]
        for results in (opened[1:], same_masks(opened, intersect=True)):
            for table in comparison(results, with_published=True):
                assert table.rows
            without_published(results)
        class_granularities(changed.url)
    except UserError as error:
        text = str(error).replace(good.url, "").replace(changed.url, "")
        assert len(text) < 1000
        assert text.isprintable()
        raise
    finally:
        changed.write(path, before)


def _rows(name):
    """Tables after some edits: values replaced, rows left out, doubled or in another order."""
    table = folders()[2][name]
    numbers = st.lists(st.integers(0, table.num_rows - 1), min_size=1, max_size=2 * table.num_rows)
    swapped = st.tuples(*[st.integers(0, table.num_rows - 1)] * 2).map(lambda pair: _swapped(table.num_rows, *pair))
    order = st.one_of(st.just(range(table.num_rows)), swapped, numbers)
    fields = st.sampled_from(list(TABLES[name]))
    edit = fields.flatmap(lambda field: st.tuples(st.just(field), st.integers(0, table.num_rows - 1), _values(field)))
    return st.builds(lambda rows, edits: _changed(table, rows, edits), order, st.lists(edit, max_size=4))


def _values(field):
    return st.one_of(VALUES[field.type], st.none()) if field.nullable else VALUES[field.type]


def _swapped(count, one, other):
    rows = list(range(count))
    rows[one], rows[other] = other, one
    return rows


def _changed(table, order, edits):
    for field, row, value in edits:
        values = table[field.name].to_pylist()
        values[row] = value
        table = table.set_column(table.schema.get_field_index(field.name), field, pa.array(values, field.type))
    return parquet_bytes(table.take(pa.array(order)))


@fuzzed
@given(st.sampled_from(sorted(TABLES)).flatmap(lambda name: st.tuples(st.just(f"{name}.parquet"), _rows(name))))
def test_rows(variant):
    assert outcome(lambda: target(*variant)) in ("ok", "UserError")


def _bytes(path):
    return st.tuples(st.just(path), mutated_bytes(folders()[1].read(path), most=2))


@fuzzed
@given(st.sampled_from([f"{name}.parquet" for name in TABLES]).flatmap(_bytes))
def test_bytes(variant):
    assert outcome(lambda: target(*variant)) in ("ok", "UserError")


@fuzzed_in_every_way
@given(st.deferred(lambda: mutated_json(folders()[3])))
def test_summary(text):
    assert outcome(lambda: target("summary.json", text.encode())) in ("ok", "UserError")
