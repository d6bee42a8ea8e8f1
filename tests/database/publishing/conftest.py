"""A finished database that tests publish."""

import pytest

from agg_pipeline.database.reader import open_proposals
from tests.toy_run import make_database


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory):
    """The folder of a finished database of three shards; nobody may change it."""
    folder = tmp_path_factory.mktemp("published") / "db"
    make_database(folder)
    return folder


@pytest.fixture(scope="session")
def whole(finished_folder):
    """The database in it."""
    return open_proposals(str(finished_folder))
