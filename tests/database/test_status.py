"""How far the run of a database is, in words."""

import dataclasses
import json
import os
import socket
from pathlib import Path

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT, SAMPLING_FILE
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.status import Status, status
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.proposals.summary_tables import print_status
from agg_pipeline.storage.lock import blocked_by, owned
from schemas.findings import Finding
from tests.execution.test_shard_files import edit_sidecar


def state(store):
    return status(open_proposals(store.url)).state


def finish_now(store, plan):
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))


def test_complete_run(built, toy_plan):
    finish_now(built, toy_plan)
    kinds = open_proposals(built.url).proposals(["kind"])["kind"].to_pylist()
    objects = kinds.count("object")
    assert 0 < objects < len(kinds)
    expected = Status("toy, val", "complete", 3, 3, (), 8, 8, objects, len(kinds) - objects)
    assert status(open_proposals(built.url)) == expected


def test_complete_limited_run(built, toy_plan, capsys, monkeypatch):
    built.remove("shards/part-00002.json")
    files = built.read_json("shards/part-00001.json")["files"]
    files["images/part-00001.parquet"]["rows"] = 2
    edit_sidecar(built, 1, images=2, files=files)
    finish_now(built, toy_plan)
    found = status(open_proposals(built.url))
    assert found.state == "complete: 5 of 8 images, as limited"
    assert (found.finished, found.shards, found.images, found.planned) == (2, 3, 5, 8)
    assert found.limited
    monkeypatch.setenv("COLUMNS", "120")
    print_status(found)
    printed = capsys.readouterr().out
    assert "2, all within the limit (data set: 3)" in printed
    assert "5, all within the limit (data set: 8)" in printed
    assert "2 of 3" not in printed


def test_stopped_run(built, toy_plan):
    stopped = "stopped: 8 of 8 images; run the same command again to resume"
    # All shards are made, but the summaries are not.
    assert state(built) == stopped
    finish_now(built, toy_plan)
    assert state(built) == "complete"
    built.remove(SAMPLING_FILE)
    assert state(built) == stopped
    finish_now(built, toy_plan)
    built.remove("shards/part-00000.json")
    assert state(built) == "stopped: 5 of 8 images; run the same command again to resume"


def test_truncated_shards_are_not_finished(built, toy_plan, capsys):
    finish_now(built, toy_plan)
    path = "proposals/part-00001.parquet"
    whole = built.read(path)
    built.write(path, whole[:-1])
    found = status(open_proposals(built.url))
    assert found.state == "damaged: 1 shard; run the same command again to repair"
    assert found.damaged == (1,)
    sidecars = [built.read_json(f"shards/part-0000{number}.json") for number in (0, 2)]
    assert (found.finished, found.shards) == (2, 3)
    assert (found.images, found.planned) == (sum(each["images"] for each in sidecars), 8)
    assert found.proposals == sum(sum(each["kinds"].values()) - each["kinds"]["object"] for each in sidecars)
    assert not found.limited
    built.remove("images/part-00000.parquet")
    found = status(open_proposals(built.url))
    assert found.state == "damaged: 2 shards; run the same command again to repair"
    assert found.damaged == (0, 1)
    print_status(found)
    # A long path of the folder makes the table fold the cells of its other column.
    cells = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines()]
    labels, values = (" ".join(row[column].strip() for row in cells if row) for column in (0, 1))
    assert "truncated, or without a file" in " ".join(labels.split())
    assert "part-00000, part-00001" in " ".join(values.split())
    with owned(built):
        assert state(built).startswith("running: process ")


def test_contents_of_the_recorded_size_are_not_read(built, toy_plan):
    finish_now(built, toy_plan)
    path = "proposals/part-00001.parquet"
    built.write(path, bytes(len(built.read(path))))
    assert state(built) == "complete"


def test_running(built, toy_plan):
    finish_now(built, toy_plan)
    with owned(built):
        assert state(built) == f"running: process {os.getpid()} on {socket.gethostname()}"
        elsewhere = json.loads(built.read("lock.json")) | {"host": "elsewhere", "pid": 7, "table": "another boot"}
        built.write("lock-2.json", json.dumps(elsewhere).encode())
        assert state(built) == "running, unless it was killed: process 7 on elsewhere"
        built.remove("lock-2.json")
    assert state(built) == "complete"
    assert [field.name for field in dataclasses.fields(Status)][:2] == ["dataset", "state"]


@pytest.mark.parametrize("kind", ["folder", "broken link"])
@pytest.mark.parametrize("name", ["lock.json", "lock-2.json"])
def test_what_keeps_every_run_out_is_told(built, toy_plan, kind, name):
    finish_now(built, toy_plan)
    place = Path(built.url) / name
    if name == "lock-2.json":
        built.write("lock.json", b"of a version that wrote other locks")
    if kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("nowhere")
    said = "is no lock of a run, but a folder or a broken link; delete it"
    if name == "lock.json":
        # A damaged lock may be of a run that lives.
        assert state(built) == f"blocked: {name} {said}"
        wrong = "is a folder in the place of a file" if kind == "folder" else said
        assert [*validate(open_proposals(built.url))] == [Finding(name, wrong)]
    assert blocked_by(built) == name
    place.rmdir() if kind == "folder" else place.unlink()
    assert blocked_by(built) == ""
