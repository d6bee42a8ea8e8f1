"""A database copied to other places: whole, only what is missing, and never half as a whole one."""

import json
import shutil

import pytest

from agg_pipeline.database.contents import CITATION, DATABASE_LAYOUT, MANIFEST
from agg_pipeline.database.manifest import ADDED, make_manifest
from agg_pipeline.database.publishing import transfer as module
from agg_pipeline.database.publishing.transfer import Copied, transfer
from agg_pipeline.database.reader import inspect_proposals, open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.shard_files import PLAN
from agg_pipeline.storage.store import Store
from schemas.errors import StorageError, UserError
from tests.faults.object_store import Fault

FILES = 3 * 4 + 6
"""Files of the toy database: of three shards, and six documents."""


def files_of(store):
    return {path: store.read(path) for path in store.files()}


@pytest.fixture(params=["disk", "bucket"])
def place(request, tmp_path):
    """The URL of the copy."""
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        return "s3://bucket/copy"
    return str(tmp_path / "copy")


@pytest.fixture
def changeable(finished_folder, tmp_path):
    """A copy of the database that a test may change."""
    shutil.copytree(finished_folder, tmp_path / "mine")
    return tmp_path / "mine"


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_copy_is_the_same_and_valid(whole, finished_folder, place, tmp_path):
    assert transfer(whole, place) == Copied(FILES, size_of(finished_folder), 0)
    assert files_of(Store(place)) == files_of(whole.store)
    assert list(validate(inspect_proposals(place))) == []
    assert transfer(whole, place, verify=True) == Copied(0, 0, FILES)
    # And back.
    assert transfer(open_proposals(place), str(tmp_path / "back")).files == FILES
    assert files_of(Store(str(tmp_path / "back"))) == files_of(whole.store)


# Each takes seconds on a server.
@pytest.mark.parametrize(
    ("place", "failing"),
    [("disk", failing) for failing in range(0, FILES, 2)]
    + [pytest.param("bucket", failing, marks=pytest.mark.faults_long) for failing in (0, 6, FILES - 2)],
    indirect=["place"],
)
def test_an_interruption_leaves_no_database_and_is_resumed(whole, place, monkeypatch, failing):
    written = []
    write = Store.write
    monkeypatch.setattr(module, "SHARDS", 1)

    def interrupted(store, path, content):
        if len(written) == failing:
            raise StorageError("interrupted")
        written.append(path)
        write(store, path, content)

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="interrupted"):
        patch.setattr(Store, "write", interrupted)
        transfer(whole, place)
    assert written[-1:] != [MANIFEST]
    if PLAN not in written:
        with pytest.raises(UserError, match="is not a proposal database"):
            open_proposals(place)
    again = transfer(whole, place)
    shards = sum(path.startswith("shards/") for path in written)
    # On a disk, tables of the shard that was interrupted are kept, too.
    assert again.present == (4 * shards if place.startswith("s3") and shards < 3 else len(written))
    assert again.files + again.present == FILES
    assert files_of(Store(place)) == files_of(whole.store)


def test_plan_and_manifest_come_last(whole, tmp_path, monkeypatch):
    written = []
    write = Store.write
    monkeypatch.setattr(
        Store, "write", lambda store, path, content: (written.append(path), write(store, path, content))
    )
    transfer(whole, str(tmp_path / "copy"))
    assert written[-2:] == [PLAN, MANIFEST]
    for number in range(3):
        tables = DATABASE_LAYOUT.files(number)
        assert all(written.index(path) < written.index(f"shards/part-0000{number}.json") for path in tables)


def test_what_is_missing_is_copied(whole, place):
    transfer(whole, place)
    store = Store(place)
    store.remove("images/part-00001.parquet")
    store.remove("README.md")
    assert transfer(whole, place).present >= 8
    assert files_of(store) == files_of(whole.store)


def test_damage_of_the_copy_is_mended_by_verify(whole, place):
    transfer(whole, place)
    store = Store(place)
    before = store.read("proposals/part-00001.parquet")
    store.write("proposals/part-00001.parquet", before[:-9] + b"x" + before[-8:])
    assert transfer(whole, place) == Copied(0, 0, FILES)
    copied = transfer(whole, place, verify=True)
    # Beside the other two shards plan and citation, and on a disk the intact tables of the shard.
    assert copied.present == 4 * 2 + 2 + 2 * (not place.startswith("s3"))
    assert files_of(store) == files_of(whole.store)


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_a_damaged_source_is_not_copied(changeable, place):
    database = open_proposals(str(changeable))
    path = changeable / "proposals/part-00002.parquet"
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    with pytest.raises(UserError, match=r"proposals/part-00002\.parquet does not have the checksum"):
        transfer(database, place)
    store = Store(place)
    assert not {PLAN, MANIFEST, "shards/part-00002.json", "proposals/part-00002.parquet"} & {*store.files()}
    path.unlink()
    with pytest.raises(UserError, match=r"proposals/part-00002\.parquet is missing; run agg database validate"):
        transfer(database, place)


def test_a_large_table_is_copied_in_parts(whole, place, monkeypatch):
    monkeypatch.setattr("agg_pipeline.database.publishing.members.CHUNK", 1000)
    monkeypatch.setattr(module, "CHUNK", 1000)
    transfer(whole, place)
    assert files_of(Store(place)) == files_of(whole.store)


def test_a_damaged_large_table_is_not_left_on_a_disk(changeable, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 1000)
    database = open_proposals(str(changeable))
    path = changeable / "proposals/part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    with pytest.raises(UserError, match=r"proposals/part-00000\.parquet does not have the checksum"):
        transfer(database, str(tmp_path / "copy"))
    assert not list((tmp_path / "copy").glob("proposals/*0000.parquet"))
    assert not list((tmp_path / "copy").glob("*/.tmp*"))


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_names_that_people_added_are_copied(changeable, place):
    (changeable / CITATION).write_text("cff-version: 1.2.0\nauthors: [{name: Ada}]\n")
    database = open_proposals(str(changeable))
    transfer(database, place)
    assert b"Ada" in Store(place).read(CITATION)
    (changeable / CITATION).write_text("cff-version: 1.2.0\nauthors: [{name: Eva}]\n")
    assert transfer(database, place).files == 1
    assert b"Eva" in Store(place).read(CITATION)


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_names_that_people_added_to_the_copy_stay(whole, place):
    store = Store(place)
    transfer(whole, place)
    named = store.read(CITATION).replace(b"The authors of this database", b"Ada")
    store.write(CITATION, named)
    assert transfer(whole, place).files == 0
    # Also when rows are copied again.
    index = min(whole.sidecars)
    store.remove(f"proposals/part-{index:05d}.parquet")
    assert transfer(whole, place).files > 0
    assert store.read(CITATION) == named
    transfer(whole, place, overwrite=True)
    assert b"Ada" not in store.read(CITATION)


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_other_databases_are_not_replaced(whole, changeable, place):
    transfer(whole, place)
    before = files_of(Store(place))
    # The same rows under another plan.
    plan = json.loads((changeable / PLAN).read_text())
    other = open_proposals(str(changeable)).plan | {"config_hash": "0" * 32, "seed": 9}
    assert plan != other
    store = Store(str(changeable))
    store.write_json(PLAN, other)
    for path in sorted((changeable / "shards").iterdir()):
        sidecar = json.loads(path.read_text()) | {"config_hash": "0" * 32}
        sidecar.pop("checksum")
        store.write_json(f"shards/{path.name}", sidecar)
    manifest = json.loads((changeable / MANIFEST).read_text())
    database = open_proposals(str(changeable))
    store.write_json(MANIFEST, make_manifest(database.plan, database.sidecars) | {key: manifest[key] for key in ADDED})
    with pytest.raises(UserError, match="holds another database, or other rows of this one"):
        transfer(database, place)
    assert files_of(Store(place)) == before
    assert transfer(database, place, overwrite=True) == Copied(FILES, size_of(changeable), 0)
    assert files_of(Store(place)) == files_of(store)
    # Over itself, nothing is deleted.
    assert transfer(database, place, overwrite=True).files == 0


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_a_part_of_another_database_is_not_completed(whole, place):
    store = Store(place)
    sidecar = dict(whole.sidecars[0], images=1)
    sidecar.pop("checksum")
    store.write_json("shards/part-00000.json", sidecar)
    with pytest.raises(UserError, match="holds another database, or other rows of this one"):
        transfer(whole, place)
    transfer(whole, place, overwrite=True)
    assert files_of(store) == files_of(whole.store)


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_files_of_others_are_left_alone(whole, place):
    store = Store(place)
    store.write("thesis.tex", b"x")
    with pytest.raises(UserError, match=r"holds thesis\.tex and is not a proposal database"):
        transfer(whole, place, overwrite=True)
    assert store.files() == ["thesis.tex"]


def test_unfinished_databases_and_the_same_place_are_refused(whole, changeable, tmp_path):
    before = files_of(whole.store)
    (tmp_path / "link").symlink_to(whole.store.url)
    for inside in (whole.store.url, f"{whole.store.url}/copy", f"{tmp_path}/link", f"{tmp_path}/link/images/x/.."):
        with pytest.raises(UserError, match=r"is the database itself, or lies in it; choose another folder"):
            transfer(whole, inside, overwrite=True)
    assert files_of(whole.store) == before
    (changeable / MANIFEST).unlink()
    with pytest.raises(UserError, match=r"is not finished, or was changed"):
        transfer(open_proposals(str(changeable)), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


@pytest.mark.faults_long
def test_a_server_that_fails_now_and_then(whole, bucket, monkeypatch):
    monkeypatch.setattr("agg_pipeline.storage.attempts.PAUSES", (0.0,) * 6)
    bucket.faults += [Fault(503, 0.2), Fault("reset", 0.05, methods=("GET", "HEAD"))]
    transfer(whole, "s3://bucket/copy", verify=True)
    bucket.faults.clear()
    assert sum(bucket.failed.values()) > 0
    assert files_of(Store("s3://bucket/copy")) == files_of(whole.store)


def test_nothing_that_is_there_is_sent_or_fetched_again(whole, bucket, tmp_path):
    transfer(whole, "s3://bucket/copy")
    sent = [path for method, path, _ in bucket.answers if method == "PUT"]
    bucket.answers.clear()
    transfer(whole, "s3://bucket/copy")
    assert not [path for method, path, _ in bucket.answers if ".parquet" in path and "sampling" not in path]
    assert len([path for path in sent if ".parquet" in path]) == 3 * 3 + 1
    transfer(open_proposals("s3://bucket/copy"), str(tmp_path / "copy"))
    bucket.answers.clear()
    transfer(open_proposals("s3://bucket/copy"), str(tmp_path / "copy"))
    assert not [path for _, path, _ in bucket.answers if ".parquet" in path and "sampling" not in path]
