"""Tables of a database of any content: findings, or one line."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.database.reader import inspect_proposals, mask_of
from agg_pipeline.database.validation import validate
from schemas.errors import UserError
from schemas.tables import FILES
from tests.execution.test_shard_files import sealed
from tests.fuzz.mutations import fuzzed, mutated_bytes, outcome
from tests.toy_run import make_database

SIDECAR = "shards/part-00000.json"
FOOTER_START = 700
"""Bytes at the end of a file that are changed more often than others: its footer."""


@cache
def database():
    """A finished database, and the tables of its first shard."""
    store = make_database(Path(tempfile.mkdtemp(prefix="fuzz-parquet-")))
    return store, {name: store.read(f"{name}/part-00000.parquet") for name in FILES}, store.read_json(SIDECAR)


def target(name, content):
    """Put a table into the database, with a sidecar that agrees, and read it in every way."""
    store, files, sidecar = database()
    path = f"{name}/part-00000.parquet"
    facts = {
        "rows": sidecar["files"][path]["rows"],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    store.write(path, content)
    store.write_json(SIDECAR, sealed(sidecar | {"files": sidecar["files"] | {path: facts}}))
    try:
        for finding in validate(inspect_proposals(store.url)):
            assert "\n" not in finding.what.strip()
        opened = inspect_proposals(store.url)
        for table in FILES:
            opened.table(table).to_pylist()
        for row in opened.proposals().to_pylist():
            mask_of(row)
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        store.write(path, files[name])
        store.write_json(SIDECAR, sidecar)


def _variant(name):
    content = database()[1][name]
    footer = mutated_bytes(content[-FOOTER_START:]).map(lambda end: content[:-FOOTER_START] + end)
    return st.tuples(st.just(name), st.one_of(footer, mutated_bytes(content)))


@fuzzed
@given(st.sampled_from(sorted(FILES)).flatmap(_variant))
def test_parquet(variant):
    assert outcome(lambda: target(*variant)) == "ok"
