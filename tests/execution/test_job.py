"""What is decided before the work begins: finished and missing shards, and who may write."""

import json
from dataclasses import replace

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT, MANIFEST
from agg_pipeline.execution import job as module
from agg_pipeline.execution import run_workers
from agg_pipeline.execution.chain import Chain
from agg_pipeline.execution.job import Job, Made, Progress, check_end, make_shards, resume, tasks_of
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.shard_files import sidecar_path, sidecars
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.storage.lock import LOCK, owned
from schemas.config import PredictorConfig
from schemas.errors import UserError
from tests.execution.test_shard_files import edit_sidecar, sealed


@pytest.fixture
def told():
    """What a run says when it starts."""
    return []


@pytest.fixture
def start(built, toy_dataset, toy_config, toy_plan, told):
    """Resume the toy run for so many images; a run that would start workers ends with an error."""

    def begin(images, lose=False):
        progress = Progress(told.append, lambda _done: None, told.append)
        options = RunOptions("", limit_images=images, workers=1)
        job = Job(
            layout=DATABASE_LAYOUT,
            plan=toy_plan,
            tasks=tasks_of(toy_dataset, toy_config, 3, images),
            chain=Chain((), None),
            model=None,
            predictor=PredictorConfig(),
            device="the CPU",
            finished=lambda task, sidecar: sidecar["images"] >= len(task.entries),
            drop=lambda: told.append("dropped"),
        )
        with owned(built) as ownership:
            found = resume(ownership, DATABASE_LAYOUT, toy_plan, options, progress)
            if lose:
                put_successor(built)
            return make_shards(ownership, job, found, options, progress)

    return begin


def put_successor(store):
    store.write(LOCK, json.dumps(json.loads(store.read(LOCK)) | {"run": "successor"}).encode())


def no_cluster(*_args):
    raise RuntimeError("workers are started")


def test_nothing_to_do(built, start, told, monkeypatch):
    monkeypatch.setattr(run_workers, "cluster", no_cluster)
    built.write_json(MANIFEST, {})
    assert start(None) == Made()
    (begin,) = told
    assert (begin.images, begin.missing) == (8, 0)
    assert [sidecar["shard"] for sidecar in begin.finished] == [0, 1, 2]
    assert built.exists(MANIFEST)


def test_missing_shards_are_made_and_the_summaries_dropped_before(built, start, told, monkeypatch):
    monkeypatch.setattr(run_workers, "cluster", no_cluster)
    built.remove("shards/part-00001.json")
    assert start(3) == Made()
    assert [sidecar["shard"] for sidecar in told.pop().finished] == [0]
    with pytest.raises(RuntimeError, match="workers are started"):
        start(4)
    assert told == ["dropped"]


def test_shard_that_was_made_for_fewer_images_is_made_again(built, start, told, monkeypatch):
    monkeypatch.setattr(run_workers, "cluster", no_cluster)
    edit_sidecar(built, 2, images=1)
    assert start(7) == Made()
    assert len(told.pop().finished) == 3
    with pytest.raises(RuntimeError, match="workers are started"):
        start(8)
    assert told == ["dropped"]


def test_run_that_lost_its_folder_drops_nothing(built, start, told, monkeypatch):
    monkeypatch.setattr(run_workers, "cluster", no_cluster)
    built.remove("shards/part-00001.json")
    with pytest.raises(UserError, match="has taken over"):
        start(None, lose=True)
    assert told == []


@pytest.mark.parametrize("lost", [False, True])
def test_temporary_files_of_killed_workers_are_removed_unless_the_folder_is_lost(built, start, monkeypatch, lost):
    paths = ["proposals/.tmp-part-00001.parquet-0", "shards/.tmp-part-00001.json-0", ".tmp-plan.json-0", "images/.keep"]

    def killed(*_args):
        for path in paths:
            built.write(path, b"x")
        if lost:
            put_successor(built)
        raise UserError("all workers were killed")

    monkeypatch.setattr(run_workers, "cluster", killed)
    built.remove("shards/part-00001.json")
    with pytest.raises(UserError, match="all workers were killed"):
        start(None)
    assert [path for path in paths if built.exists(path)] == (paths if lost else paths[3:])


def test_worker_writes_only_for_a_run_that_owns_the_folder(built):
    written = []

    def write(*args):
        written.append(args)
        return {"shard": 7}

    with pytest.raises(UserError, match="has taken over"), owned(built) as ownership:
        assert module._write_owned(ownership, write, "state", built, "hash") == {"shard": 7}
        assert built.read_json(sidecar_path(7)) == {"shard": 7}
        put_successor(built)
        module._write_owned(ownership, write, "state", built, "hash")
    assert written == [("state", built, "hash")]


def test_worker_publishes_no_shard_of_a_run_that_lost_the_folder_while_its_tables_were_written(built):
    """The client was killed, and the next run has made this shard before the worker's storage answered."""
    before = built.read(sidecar_path(1))

    def write(*_args):
        put_successor(built)
        return {"shard": 1}

    with pytest.raises(UserError, match="has taken over"), owned(built) as ownership:
        module._write_owned(ownership, write, "state", built, "hash")
    assert built.read(sidecar_path(1)) == before


def test_verification_is_announced(built, toy_plan, told):
    progress = Progress(say=told.append)
    with owned(built) as ownership:
        options = RunOptions("")
        assert list(resume(ownership, DATABASE_LAYOUT, toy_plan, options, progress)) == [0, 1, 2]
        assert told == []
        assert list(resume(ownership, DATABASE_LAYOUT, toy_plan, replace(options, verify=True), progress)) == [0, 1, 2]
    assert told == ["comparing the checksums of finished shards"]


def test_shards_are_sorted_into_finished_and_missing_without_comparing_them(built, monkeypatch):
    """Comparing each shard with the missing ones takes a time that is quadratic in their number."""
    compared = []
    monkeypatch.setattr(run_workers, "cluster", no_cluster)
    monkeypatch.setattr(ShardTask, "__eq__", lambda self, other: compared.append(other) or self is other)
    tasks = [ShardTask(index, "toy", (), None, None) for index in range(100)]
    job = Job(DATABASE_LAYOUT, {}, tasks, Chain((), None), None, PredictorConfig(), "", lambda *_: True, lambda: None)
    with owned(built) as ownership, pytest.raises(RuntimeError, match="workers are started"):
        make_shards(
            ownership,
            job,
            {index: {"rejects": {}} for index in range(0, 100, 2)},
            RunOptions("", workers=1),
            Progress(),
        )
    assert compared == []


def disputed(ownership):
    return replace(ownership, disputed=True)


def test_a_finished_run_is_checked_against_the_plan_that_is_there(built, toy_plan):
    found = sidecars(built, DATABASE_LAYOUT)
    with owned(built) as ownership:
        check_end(ownership, DATABASE_LAYOUT, toy_plan, found)
        built.write_json("plan.json", toy_plan | {"seed": 7, "config_hash": "another"})
        with pytest.raises(UserError, match="holds another run"):
            check_end(ownership, DATABASE_LAYOUT, toy_plan, found)
        built.remove("plan.json")
        with pytest.raises(UserError, match=r"holds shards, but no plan\.json"):
            check_end(ownership, DATABASE_LAYOUT, toy_plan, found)


def test_what_a_run_that_was_taken_for_dead_has_written_is_found(built, toy_plan):
    """It published a table of its own in the moment in which it lost the folder, of the same size."""
    found = sidecars(built, DATABASE_LAYOUT)
    path = "proposals/part-00001.parquet"
    built.write(path, bytes(len(built.read(path))))
    with owned(built) as ownership:
        check_end(ownership, DATABASE_LAYOUT, toy_plan, found)
        with pytest.raises(UserError, match="considered dead has written or removed files of 1 shard of"):
            check_end(disputed(ownership), DATABASE_LAYOUT, toy_plan, found)


@pytest.mark.parametrize("shard", [1, 2])
@pytest.mark.parametrize("lost", [False, True])
def test_a_shard_of_another_configuration_is_of_a_run_that_was_taken_for_dead(built, toy_plan, shard, lost):
    """This run may have been asked for fewer images, without the shard."""
    found = sidecars(built, DATABASE_LAYOUT)
    built.write_json(sidecar_path(shard), sealed(found[shard] | {"config_hash": "another"}))
    mine = {index: sidecar for index, sidecar in found.items() if index != 2}
    with (
        owned(built) as ownership,
        pytest.raises(
            UserError,
            match=r"^a run that was considered dead has written or removed files of 1 shard of .*; resume with",
        ),
    ):
        check_end(replace(ownership, disputed=lost), DATABASE_LAYOUT, toy_plan, mine)


@pytest.mark.parametrize("change", [{"images": 1}, {"rejects": {"empty": 3}}])
def test_a_run_does_not_end_well_whose_sidecars_are_edited(built, toy_plan, change):
    found = sidecars(built, DATABASE_LAYOUT)
    with owned(built) as ownership:
        for edited in (found[1] | change, sealed(found[1] | change)):
            built.write_json("shards/part-00001.json", edited)
            with pytest.raises(UserError, match=r"^somebody has changed or removed files of 1 shard"):
                check_end(ownership, DATABASE_LAYOUT, toy_plan, found)


@pytest.mark.parametrize("path", ["proposals/part-00001.parquet", "shards/part-00001.json"])
def test_a_run_does_not_end_well_whose_shards_are_gone(built, toy_plan, path):
    found = sidecars(built, DATABASE_LAYOUT)
    built.remove(path)
    with (
        owned(built) as ownership,
        pytest.raises(UserError, match=r"^somebody has changed or removed files of 1 shard"),
    ):
        check_end(ownership, DATABASE_LAYOUT, toy_plan, found)
