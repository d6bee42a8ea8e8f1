"""Runs that meet what an earlier run, another program or another run has left in their folder."""

import json
import re
import shutil
import time

import pytest

from agg_pipeline import open_proposals
from agg_pipeline.storage.lock import LOCK
from tests.e2e.commands import error_of, invoke, start, wait
from tests.e2e.small_set import QUICK, SIZES, add_split
from tests.e2e.test_bad_input import snapshot
from tests.e2e.test_validate import findings, table_of

STRAYS = (".gitattributes", ".git/HEAD", ".DS_Store", "Thumbs.db", "notes.txt", "images/.DS_Store", "shards/._x.json")


def command(finished, out, *options):
    return ("proposals", "run", *SIZES, *QUICK, "--data", finished.data, "--out", out, *options)


def tables(out):
    root = out / "database"
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.parquet")}


@pytest.fixture
def out(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished.out, tmp_path / "out")


def test_files_of_git_and_of_desktops_are_nobodys_concern(finished, out):
    root = out / "database"
    for path in STRAYS:
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"\0")
    (root / "shards/part-00003.json").unlink()
    result = wait(start(*command(finished, out)))
    assert (result.code, result.stderr) == (0, "")
    assert tables(out) == tables(finished.out)
    assert findings(root) == [("notes.txt", "is not of this database; move it to another folder")]
    assert open_proposals(out).images().num_rows == 4
    result = wait(start(*command(finished, out, "--overwrite", "--limit-images", "1")))
    assert (result.code, result.stderr) == (0, "")
    assert [(root / path).read_bytes() for path in STRAYS] == [b"\0"] * len(STRAYS)
    assert len(list(root.rglob("part-*"))) == 4


def test_same_size_and_other_content_is_found_by_verify(finished, out):
    path = out / "database/proposals/part-00002.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    assert "finished already: 4 of 4 images" in invoke(*command(finished, out)).stdout
    assert path.read_bytes() != content
    result = wait(start(*command(finished, out, "--verify")))
    assert (result.code, result.stderr) == (0, "")
    assert "finished already: 3 of 4 images" in result.stdout
    assert tables(out) == tables(finished.out)
    kept = snapshot(out / "database/proposals")
    assert "finished already: 4 of 4 images" in invoke(*command(finished, out, "--verify")).stdout
    assert snapshot(out / "database/proposals") == kept


def test_broken_sidecar_is_reported_and_its_shard_made_again(finished, out):
    path = out / "database/shards/part-00002.json"
    path.write_bytes(path.read_bytes()[:-10])
    error = error_of(invoke("proposals", "stats", out))
    assert error.startswith(f"{path} is not JSON: ")
    assert error.endswith("; run the command that made it again, which makes its shard again")
    state = table_of(invoke("proposals", "status", out))["state"]
    assert state == ["damaged: 1 shard; run the same command again to repair"]
    validation = invoke("proposals", "validate", out)
    assert validation.code == 1
    assert "shards/part-00002.json" in validation.stdout
    result = wait(start(*command(finished, out)))
    assert result.code == 0, result
    assert "finished already: 3 of 4 images" in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"WARNING: {path} is not JSON: ")
    assert line.endswith("; its shard is made again")
    assert tables(out) == tables(finished.out)
    assert invoke("proposals", "validate", out).code == 0


def test_limited_run_is_complete_for_what_was_asked_for(finished, tmp_path):
    limited = command(finished, tmp_path / "out", "--limit-images", "2")
    assert wait(start(*limited)).code == 0
    state = table_of(invoke("proposals", "status", tmp_path / "out"))
    assert state["state"] == ["complete: 2 of 4 images, as limited"]
    assert state["finished shards"] == ["2, all within the limit (data set: 4)"]


@pytest.mark.parametrize("content", ["another run", None])
def test_run_that_lost_its_folder_stops(finished, tmp_path, content):
    """Another run has taken the folder over, or somebody has deleted the lock file."""
    root = tmp_path / "out/database"
    process = start(*command(finished, tmp_path / "out"))
    deadline = time.monotonic() + 120
    while not (root / LOCK).exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    # The workers are not even started.
    lock = json.loads((root / LOCK).read_text()) | {"run": content, "pid": 7, "host": "elsewhere"}
    if content is None:
        (root / LOCK).unlink()
    else:
        # In one step, because the run may look at any instant; and from elsewhere, because it removes temporary files.
        (tmp_path / LOCK).write_text(json.dumps(lock))
        (tmp_path / LOCK).replace(root / LOCK)
    # The run or one of its workers notices first; a worker is named.
    error = re.sub(r"^worker tcp://\S+: ", "", error_of(wait(process)))
    if content is None:
        assert error.startswith(f"{root}/lock.json is gone: it was deleted")
    else:
        assert error.startswith(f"another run (process 7 on elsewhere) has taken over {root}")
        assert json.loads((root / LOCK).read_text()) == lock
    assert {path.name for path in root.iterdir()} <= {"plan.json", LOCK}, "nothing was written any more"


def test_list_of_file_names_is_named_as_the_likely_cause(finished, tmp_path):
    data = shutil.copytree(finished.data, tmp_path / "data")
    add_split(data, "names", "2008_000000.jpg", "2008_000001.jpg")
    evaluated = ("eval", "run", "--dataset", "sbd", "--data", data, "--out", tmp_path / "eval", "--sample", "1")
    for run in (command(finished, tmp_path / "out", "--data", data), evaluated):
        error = error_of(invoke(*run, "--split", "names"))
        assert error.startswith(f"no image that split names lists is in {data}/img, for example 2008_000000.jpg; ")
        assert error.endswith("a list holds one image id per line, such as 2008_000000")
    add_split(data, "some", "2008_000000.jpg", "2008_000001.jpg", "2008_000002")
    error = error_of(wait(start(*command(finished, tmp_path / "out", "--split", "some", "--data", data))))
    said = "66.7% of the images could not be used, more than --max-reject-share 1.0%: 2 x the image file is missing"
    assert error.startswith(said)
    assert "(for example 2008_000000.jpg: img/2008_000000.jpg.jpg does not exist)" in error
    assert "did you mean 2008_000000? The list of images has 2008_000000.jpg" in error
    assert error.endswith(f"all reasons are in {tmp_path / 'out/database/rejects'}")
