"""Several simulated interactions of each object: ``--rounds``."""

import pytest

from agg_pipeline.database.contents import CARD, DATABASE_LAYOUT, MANIFEST, SAMPLING_FILE
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.proposals.pipeline import shard_tables
from agg_pipeline.storage.store import Store
from schemas.resolve import override
from tests.toy_run import ENVIRONMENT, MODEL, run_shards, write_database


@pytest.fixture
def twice(toy_config):
    return override(toy_config, {"loop": {"rounds": 2}})


def test_a_second_round_adds_to_what_the_first_one_gave(toy_dataset, toy_config, twice, toy_shards):
    of_one = [row for state in toy_shards for row in shard_tables(state)["proposals"].to_pylist()]
    of_two = [row for state in run_shards(toy_dataset, twice) for row in shard_tables(state)["proposals"].to_pylist()]
    steps = toy_config.loop.max_negatives + 1
    first = [row for row in of_two if row["step"] is None or row["step"] < steps]
    # A complement may repeat a proposal of the second round, which then stays in its place.
    parts = [row for row in of_one if row["kind"] in ("object", "part")]
    assert [row for row in first if row["kind"] in ("object", "part")] == parts
    second = [row for row in of_two if row["step"] is not None and row["step"] >= steps]
    assert {row["kind"] for row in second} == {"part", "complement"}
    assert len({row["proposal_id"] for row in of_two}) == len(of_two)


def test_the_database_is_valid_but_for_the_summaries(tmp_path, toy_dataset, twice):
    store = Store(str(tmp_path / "database"))
    plan = make_plan(DATABASE_LAYOUT, toy_dataset, MODEL, ENVIRONMENT, twice)
    write_database(store, plan, run_shards(toy_dataset, twice))
    found = {finding.where for finding in validate(open_proposals(store.url))}
    assert found == {MANIFEST, SAMPLING_FILE, CARD}
