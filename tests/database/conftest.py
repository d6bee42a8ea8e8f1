"""An S3 server for the tests of databases."""

import pytest
import s3fs

from tests.faults.object_store import object_store


@pytest.fixture(scope="module")
def s3_server():
    """The server; the requests that it has answered are noted."""
    with object_store() as server:
        yield server


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The server, at which this process looks for the bucket ``bucket``; it is empty."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("agg_pipeline.storage.attempts.PAUSES", (0.0,))
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3_server.files()
    if files.find("bucket"):
        files.rm(files.find("bucket"))
    s3_server.answers.clear()
    yield s3_server
    s3_server.faults.clear()
    s3fs.S3FileSystem.clear_instance_cache()
