"""JSON of a database of any content: findings, or one line."""

import json
import tempfile
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.reader import inspect_proposals, open_proposals
from agg_pipeline.database.status import status
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.plan import refuse_other_plan
from agg_pipeline.execution.resuming import damaged, old_plan
from agg_pipeline.execution.shard_files import listing
from agg_pipeline.report.terminal import print_findings
from schemas.errors import UserError
from schemas.words import printable, printable_lines
from tests.execution.test_shard_files import sealed
from tests.fuzz.mutations import fuzzed, mutated_json, outcome
from tests.toy_run import make_database

PATHS = ("plan.json", "shards/part-00000.json", "manifest.json")


@cache
def database():
    """A finished database, and its JSON files."""
    store = make_database(Path(tempfile.mkdtemp(prefix="fuzz-database-")))
    return store, {path: store.read(path) for path in PATHS}


def target(path, content):
    """Put a file into the database and read it in every way."""
    store, files = database()
    store.write(path, content)
    try:
        for read in (_validated, _status, _resumed, _opened):
            try:
                read(store)
            except UserError as error:
                assert printable(str(error)) == str(error)
    finally:
        store.write(path, files[path])


def _validated(store):
    findings = list(validate(inspect_proposals(store.url)))
    with redirect_stdout(StringIO()) as printed:
        print_findings(findings, "")
    assert printable_lines(printed.getvalue()) == printed.getvalue()


def _status(store):
    status(inspect_proposals(store.url))


def _resumed(store):
    plan = json.loads(database()[1]["plan.json"])
    found = open_proposals(store.url).sidecars
    damaged(store, found, listing(store, DATABASE_LAYOUT), plan, verify=False)
    refuse_other_plan(store.url, old_plan(store, DATABASE_LAYOUT), plan)


def _opened(store):
    opened = open_proposals(store.url)
    opened.sampling_weights()
    opened.of_image("im_0")


def _variant(path):
    return st.tuples(st.just(path), mutated_json(json.loads(database()[1][path])))


def _sealed(text):
    """The text as a sidecar with the right checksum, if it can be one."""
    try:
        return json.dumps(sealed(json.loads(text)))
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return text


@fuzzed
@given(st.sampled_from(PATHS).flatmap(_variant), st.booleans())
def test_database(variant, seal):
    path, text = variant
    content = (_sealed(text) if seal else text).encode("utf-8", "surrogatepass")
    assert outcome(lambda: target(path, content)) == "ok"
