"""What a run would do, counted without doing it."""

from dataclasses import replace

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.execution import job
from agg_pipeline.execution.dry_run import Outlook, missing_tasks, outlook
from agg_pipeline.execution.job import Job, tasks_of
from agg_pipeline.proposals.pipeline import chain
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from tests.execution.test_shard_files import flip, truncate


def is_finished(task, sidecar):
    return sidecar["images"] >= len(task.entries)


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def change(store, path, harm):
    store.write(path, harm(store.read(path)))


def job_of(plan, tasks, config):
    return Job(DATABASE_LAYOUT, plan, tasks, chain(config), None, config.predictor, "", is_finished, drop=None)


def counted(store, job, overwrite=False, verify=False):
    return outlook(job.tasks, missing_tasks(store, job, overwrite, verify))


@pytest.fixture
def look(built, toy_dataset, toy_config, toy_plan):
    def count(limit=None, overwrite=False, plan=toy_plan, store=built, verify=False):
        tasks = tasks_of(toy_dataset, toy_config, 3, limit)
        return counted(store, job_of(plan, tasks, toy_config), overwrite, verify)

    return count


def test_counts(look, built, tmp_path):
    before = files_of(tmp_path)
    assert look() == Outlook(shards=3, images=8, finished_shards=3, finished_images=8)
    assert look(overwrite=True) == Outlook(3, 8, 0, 0)
    assert look(limit=4) == Outlook(2, 4, 2, 4)
    assert files_of(tmp_path) == before
    built.remove("shards/part-00001.json")
    found = look()
    assert found == Outlook(3, 8, 2, 5)
    assert (found.missing_shards, found.missing_images) == (1, 3)


def test_a_folder_that_is_not_there_yet(look, tmp_path):
    assert look(store=Store(str(tmp_path / "new"))) == Outlook(3, 8, 0, 0)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_another_run_is_refused_as_the_run_would(look, toy_plan, tmp_path):
    before = files_of(tmp_path)
    other = toy_plan | {"config": toy_plan["config"] | {"seed": 77}, "config_hash": "0" * 32}
    with pytest.raises(UserError, match=r"holds another run.*seed"):
        look(plan=other)
    assert look(plan=other, overwrite=True).missing_images == 8
    assert files_of(tmp_path) == before


def test_a_shard_that_is_finished_in_part(look, toy_dataset, toy_config, toy_plan, built):
    tasks = [replace(task, entries=task.entries * 2) for task in tasks_of(toy_dataset, toy_config, 3, None)]
    assert counted(built, job_of(toy_plan, tasks, toy_config)) == Outlook(3, 16, 0, 0)
    assert look().finished_images == 8


def test_damaged_shards_are_to_be_made_again_as_in_the_run(look, built, tmp_path):
    change(built, "proposals/part-00001.parquet", truncate)
    built.remove("rejects/part-00002.parquet")
    assert look() == Outlook(3, 8, 1, 3)
    change(built, "images/part-00000.parquet", flip)
    before = files_of(tmp_path)
    assert look() == Outlook(3, 8, 1, 3)
    assert look(verify=True) == Outlook(3, 8, 0, 0)
    assert files_of(tmp_path) == before
    built.write("shards/part-00000.json", b"{}")
    assert look() == Outlook(3, 8, 0, 0)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_table_is_refused_as_the_run_would(look, built, tmp_path, overwrite):
    built.write("proposals/mine.parquet", b"x")
    before = files_of(tmp_path)
    with pytest.raises(UserError, match=r"proposals/mine\.parquet would be read as a part of .*; move it to another"):
        look(overwrite=overwrite)
    assert files_of(tmp_path) == before


def test_images_that_can_be_read_only_now_are_to_be_done(look, monkeypatch):
    monkeypatch.setattr(job, "changed_rejects", lambda _store, tasks, _sidecars: {tasks[1].index})
    assert look() == Outlook(3, 8, 2, 5)
