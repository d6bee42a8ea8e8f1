"""Commands that make databases from databases, or write something of them."""

import pytest

from agg_pipeline.database.reader import open_proposals
from tests.e2e.commands import error_of, invoke
from tests.toy_run import make_database


@pytest.fixture
def database(tmp_path):
    make_database(tmp_path / "run/database")
    return tmp_path / "run"


@pytest.fixture
def unfinished(database):
    """The database without its last shard, as a run leaves it that was stopped."""
    for path in (*database.rglob("part-00002.*"), database / "database/manifest.json"):
        path.unlink()
    return database


def rows(path):
    return open_proposals(str(path)).proposals().to_pylist()


def test_all_conditions_and_all_lists_must_hold(database, tmp_path):
    images = sorted({row["image_id"] for row in rows(database)})
    lists = [tmp_path / name for name in ("a.txt", "b.txt")]
    lists[0].write_text("\n".join(images[:4]))
    lists[1].write_text("\n".join(images[2:]))
    conditions = ("--where", "kind = 'part' -- or more", "--where", "area > 20 or area < 5")
    given = [*conditions, *(each for path in lists for each in ("--images", path))]
    assert invoke("database", "filter", database, *given, "--out", tmp_path / "x").code == 0
    kept = {row["proposal_id"] for row in rows(tmp_path / "x") if row["kind"] == "part"}
    assert kept == {
        row["proposal_id"]
        for row in rows(database)
        if row["kind"] == "part" and (row["area"] > 20 or row["area"] < 5) and row["image_id"] in images[2:4]
    }
    assert kept


def test_a_command_that_makes_nothing_leaves_no_folder(database, tmp_path):
    out = tmp_path / "x"
    assert "is selected" in error_of(invoke("database", "filter", database, "--where", "false", "--out", out))
    assert not out.exists()


@pytest.mark.parametrize("command", ["filter", "merge", "diff", "push", "export"])
def test_a_file_in_the_place_of_the_folder_is_named(database, tmp_path, command):
    file = tmp_path / "file"
    file.write_text("mine")
    given = {
        "filter": (database, "--sample", "2", "--out", file),
        "merge": (database, database, "--out", file),
        "diff": (database, database, "--out", file / "deeper"),
        "push": (database, file),
        "export": (database, "--format", "png", "--out", file / "deeper"),
    }[command]
    said = error_of(invoke("database", command, *given))
    assert f"{file} is a file, not a folder" in said
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    "given",
    [
        ("filter", "--sample", "2"),
        ("split", "--shares", "0.5,0.5"),
        ("recompute", "--lambda", "0.2"),
        ("reshard", "--images-per-shard", "2"),
        ("describe", "--name", "Mine"),
        ("export", "--format", "png"),
    ],
)
def test_what_is_made_of_an_unfinished_database_is_warned_of(unfinished, tmp_path, given):
    command, *options = given
    done = invoke("database", command, unfinished, *options, "--out", tmp_path / "x")
    assert done.code == 0, done
    warning = (
        f"WARNING: {unfinished}/database is not finished: 6 of 8 images are there, and the result has only these\n"
    )
    assert done.stderr == warning


def test_a_page_is_not_written_into_a_database(database):
    before = sorted(database.rglob("*"))
    for out in (database / "database", database / "database/deeper"):
        said = error_of(invoke("database", "stats", database, "--out", out))
        assert said == f"--out {out} is one of the databases, or lies in it; choose another folder"
    assert sorted(database.rglob("*")) == before


@pytest.mark.parametrize("url", ["s3://bucket/x.json", "memory://x.json", "file:///tmp/x.json"])
def test_a_url_is_no_path_of_this_machine(database, tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    said = f"'{url}' is a URL, and this must be a path of this machine"
    for command in (
        ("export", database, "--format", "coco", "--out", url),
        ("import", url, "--format", "coco", "--out", tmp_path / "x"),
    ):
        assert said in error_of(invoke("database", *command))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
