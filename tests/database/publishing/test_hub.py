"""Databases on the Hugging Face Hub: its file system with another API, which keeps the files in memory."""

import itertools
import re
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from agg_pipeline.database.publishing.transfer import transfer
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.storage.store import Store
from schemas.errors import UserError

pytest.importorskip("huggingface_hub")
from huggingface_hub import HfFileSystem, errors, hf_api, hf_file_system

PLACE = "hf://datasets/lab/toy"


class Answer:
    """An answer over HTTP."""

    status_code, headers, request = 200, {}, None

    def __init__(self, content=b""):
        self.content = content

    def raise_for_status(self):
        """There is no error."""

    def iter_bytes(self):
        yield self.content

    def close(self):
        """Nothing is open."""


class Api:
    """What the file system asks of the Hub; one commit for every change."""

    files: ClassVar[dict[str, bytes]] = {}
    commits = 0

    def __init__(self, *_, **__):
        pass

    def repo_info(self, repo_id, **_):
        if repo_id != "lab/toy":
            raise errors.RepositoryNotFoundError("no such repository", response=Answer())

    def list_repo_tree(self, _repo, path=None, recursive=False, **_):
        prefix = f"{path.rstrip('/')}/" if path else ""
        below = [name for name in self.files if name.startswith(prefix)]
        if prefix and not below:
            raise errors.EntryNotFoundError("no such folder")
        folders = {name[: found.start()] for name in below for found in re.finditer("/", name)}
        entries = [hf_api.RepoFolder(path=each, oid="0") for each in sorted(folders) if each.startswith(prefix)]
        entries += [hf_api.RepoFile(path=name, size=len(self.files[name]), oid="0") for name in below]
        return [each for each in entries if recursive or "/" not in each.path.removeprefix(prefix)]

    def _iter_repo_tree_pages(self, repo, path=None, **options):
        yield self.list_repo_tree(repo, path, **options), True

    def upload_file(self, *, path_or_fileobj, path_in_repo, **_):
        self.files[path_in_repo] = Path(path_or_fileobj).read_bytes()
        Api.commits += 1

    def delete_file(self, path_in_repo, **_):
        del self.files[path_in_repo]
        Api.commits += 1

    def create_commit(self, *, operations, **_):
        for operation in operations:
            del self.files[operation.path_in_repo]
        Api.commits += 1

    def _build_hf_headers(self, **_):
        return {}


@pytest.fixture
def served(monkeypatch):
    """The files of an empty data set ``lab/toy``, and the bytes that were fetched of each."""
    fetched = []

    def get(_method, url, headers=None, **_):
        name = url.partition("/resolve/main/")[2]
        fetched.append(name)
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", headers["range"]).groups())
        return Answer(Api.files[name][first : last + 1])

    @contextmanager
    def stream(_method, url, **_):
        name = url.partition("/resolve/main/")[2]
        fetched.append(name)
        yield Answer(Api.files[name])

    monkeypatch.setattr(Api, "files", {".gitattributes": b"x"})
    monkeypatch.setattr(Api, "commits", 0)
    monkeypatch.setattr(hf_file_system, "HfApi", Api)
    monkeypatch.setattr(hf_file_system, "http_backoff", get)
    monkeypatch.setattr(hf_file_system, "http_stream_backoff", stream)
    monkeypatch.setattr("agg_pipeline.storage.attempts.PAUSES", ())
    HfFileSystem.clear_instance_cache()
    yield fetched
    HfFileSystem.clear_instance_cache()


def test_there_and_back(whole, served, tmp_path):
    copied = transfer(whole, PLACE)
    assert copied.files == len(Api.files) - 1
    # Neither a lock nor its heartbeat.
    assert Api.commits == copied.files
    for path in whole.store.files():
        assert Api.files[path] == whole.store.read(path), path
    assert transfer(whole, PLACE).files == 0
    assert Api.commits == copied.files
    transfer(open_proposals(PLACE), str(tmp_path / "back"))
    back = Store(str(tmp_path / "back"))
    assert {path: back.read(path) for path in back.files()} == {
        path: content for path, content in Api.files.items() if path != ".gitattributes"
    }
    served.clear()
    rows = open_proposals(PLACE).of_image("im_1")
    assert rows.equals(whole.of_image("im_1"))
    assert set(served) <= {"plan.json", "manifest.json", "proposals/part-00000.parquet"}


@pytest.mark.usefixtures("served")
def test_an_interrupted_push_is_resumed(whole, monkeypatch):
    upload = Api.upload_file
    left = itertools.count(-6)

    def interrupted(self, **options):
        if next(left) >= 0:
            raise ConnectionError("the Hub is away")
        upload(self, **options)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"cannot write \S+: the Hub is away"):
        patch.setattr(Api, "upload_file", interrupted)
        transfer(whole, PLACE)
    with pytest.raises(UserError, match="is not a proposal database"):
        open_proposals(PLACE)
    copied = transfer(whole, PLACE)
    assert copied.present == 4
    assert Api.files["proposals/part-00002.parquet"] == whole.store.read("proposals/part-00002.parquet")


def test_a_data_set_that_is_not_there(whole, served):
    with pytest.raises(UserError, match=r"hf://datasets/lab/other"):
        transfer(whole, "hf://datasets/lab/other")
    with pytest.raises(UserError, match=r"hf://datasets/lab/other is not a proposal database"):
        open_proposals("hf://datasets/lab/other")
    assert served == []
