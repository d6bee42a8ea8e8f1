"""Files that are fetched in ranges."""

import io
import itertools
import os
import random

import pytest

from agg_pipeline.storage import remote_file
from agg_pipeline.storage.remote_file import RemoteFile
from agg_pipeline.storage.store import Store
from schemas.errors import StorageError

CONTENT = random.Random(0).randbytes(5000)


class Fetched(list):
    """Gives the ranges of the content, and notes them."""

    def __call__(self, start, end):
        self.append((start, end))
        return CONTENT[start:end]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, size in {"WHOLE": 1000, "BLOCK": 100, "STREAM_BLOCK": 400}.items():
        monkeypatch.setattr(remote_file, name, size)


def test_a_small_file_is_fetched_as_a_whole():
    fetch = Fetched()
    file = RemoteFile(1000, fetch)
    assert file.read(10) == CONTENT[:10]
    assert file.read() == CONTENT[10:1000]
    assert (file.read(), file.read(5)) == (b"", b"")
    assert fetch == [(0, 1000)]


def test_an_empty_file():
    fetch = Fetched()
    assert RemoteFile(0, fetch).read() == b""
    assert fetch == []


def test_only_what_is_missing_is_fetched():
    fetch = Fetched()
    file = RemoteFile(5000, fetch)
    file.seek(1000)
    assert file.read(50) == CONTENT[1000:1050]
    assert file.seek(-60, os.SEEK_CUR) == 990
    assert file.read(200) == CONTENT[990:1190]
    assert file.tell() == 1190
    assert fetch == [(4900, 5000), (1000, 1100), (990, 1000), (1100, 1190)]


def test_ranges_that_lie_close_together_are_one_request():
    fetch = Fetched()
    file = RemoteFile(5000, fetch)
    file.prefetch([(3000, 3100), (1000, 1200), (1300, 1400), (1150, 1250), (4890, 6000)])
    assert sorted(fetch[1:]) == [(1000, 1400), (3000, 3100), (4890, 4900)]
    file.seek(1000)
    assert file.read(400) == CONTENT[1000:1400]
    assert len(fetch) == 4


def test_any_reads_give_the_content_and_no_byte_is_fetched_twice():
    dice = random.Random(1)
    for _ in range(50):
        fetch = Fetched()
        file, plain = RemoteFile(5000, fetch), io.BytesIO(CONTENT)
        for _ in range(20):
            place, size = dice.randrange(5100), dice.choice([-1, 0, 1, 30, 700])
            assert file.seek(place) == plain.seek(place)
            assert file.read(size) == plain.read(size)
        asked = sorted(fetch)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(asked))


def test_a_stream_keeps_little():
    fetch = Fetched()
    file = RemoteFile(5000, fetch, stream=True)
    read = b""
    while part := file.read(130):
        read += part
        assert sum(map(len, file._parts.values())) <= 400
    assert read == CONTENT
    # The end of a block and the next one, where a read spans both.
    assert sum(end - start for start, end in fetch) == 5000


def test_a_store_that_fails_says_so(monkeypatch):
    store = Store("memory://remote-file")
    store.write("x", CONTENT)
    with store.open("x") as file:
        monkeypatch.setattr("agg_pipeline.storage.object_store.ObjectStore.read_range", lambda *_: 1 / 0)
        monkeypatch.setattr("agg_pipeline.storage.attempts.PAUSES", ())
        with pytest.raises(StorageError, match=r"^cannot read memory://remote-file/x: division by zero$"):
            file.read()


def test_a_file_that_was_cut_meanwhile(monkeypatch):
    monkeypatch.setattr("agg_pipeline.storage.attempts.PAUSES", ())
    store = Store("memory://remote-file")
    store.write("y", CONTENT)
    with store.open("y") as file:
        store.write("y", CONTENT[:2000])
        with pytest.raises(StorageError, match=r"only 1,000 of 3,900 bytes came"):
            file.seek(1000)
            file.read()


@pytest.mark.parametrize("stream", [True, False])
def test_a_missing_file(stream):
    with pytest.raises(FileNotFoundError):
        Store("memory://remote-file").open("nothing", stream)
