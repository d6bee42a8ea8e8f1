"""A finished toy database for every test."""

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.execution.shard_files import sidecars


@pytest.fixture
def database(built, toy_plan):
    finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    return open_proposals(built.url)
