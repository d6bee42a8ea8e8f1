"""``agg database export`` and ``import``: what they print, and options that don't fit."""

import pickle
from pathlib import Path

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.execution.shard_files import sidecars
from tests.e2e.commands import error_of, invoke


@pytest.fixture
def out(built, toy_plan):
    finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    return built.url


@pytest.mark.parametrize("kind", ["coco", "sa1b"])
def test_a_round_trip_keeps_the_identity(out, tmp_path, kind):
    said = invoke("database", "export", out, "--format", kind, "--out", str(tmp_path / "x")).stdout
    assert said == f"{tmp_path / 'x'}: nothing is lost\n"
    made = invoke("database", "import", str(tmp_path / "x"), "--format", kind, "--out", str(tmp_path / "made")).stdout
    assert made.startswith(f"{tmp_path / 'made'}: 8 images, ")
    assert invoke("database", "id", str(tmp_path / "made")).stdout.strip() == database_id(open_proposals(out))
    assert "the database is valid" in invoke("database", "validate", str(tmp_path / "made")).stdout


def test_what_is_lost_is_said(out, tmp_path):
    said = invoke("database", "export", out, "--format", "released", "--out", str(tmp_path / "x.pkl")).stdout
    assert said.startswith(f"{tmp_path / 'x.pkl'}: not in this format: the object masks; images without parts; kinds, ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("export", "OUT", "--format", "png", "--polygons"), "--polygons has no effect with --format png"),
        (("export", "OUT", "--format", "coco", "--with-images"), "--with-images has no effect with --format coco"),
        (("export", "OUT", "--format", "hf", "--with-images"), "--with-images needs the photographs"),
        (("export", "OUT", "--format", "sa1b", "--data", "x"), "--data has no effect with --format sa1b"),
        (("export", "OUT", "--format", "hf", "--data", "x"), "--data is for the column image; to put the photographs"),
        (("import", "x", "--format", "released"), "name the data set that it was made from, as --dataset NAME"),
        (("import", "x", "--format", "coco", "--dataset", "demo"), "has no effect with --format coco"),
        (("import", "none.json", "--format", "coco"), "none.json: does not exist"),
        (("import", "none.pkl", "--format", "released", "--dataset", "demo"), "none.pkl: does not exist"),
    ],
)
def test_what_does_not_fit_is_one_line(out, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    words = [out if word == "OUT" else word for word in arguments]
    said = error_of(invoke("database", *words, "--out", "made"))
    assert problem in said
    assert not (tmp_path / "made").exists()


def test_a_pickle_with_code_is_one_line(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'run')!r}, 'w')",)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": Evil()}))
    arguments = (str(tmp_path / "x.pkl"), "--format", "released", "--dataset", "demo", "--out", str(tmp_path / "made"))
    said = error_of(invoke("database", "import", *arguments))
    assert "it names builtins.exec, which arrays don't need; nothing of it was run" in said
    assert not (tmp_path / "run").exists()


def test_an_export_into_the_database_is_refused(out, tmp_path):
    said = error_of(invoke("database", "export", out, "--format", "coco", "--out", f"{out}/x.json"))
    assert "is one of the databases, or lies in it" in said
    (tmp_path / "link").symlink_to(out)
    said = error_of(invoke("database", "export", out, "--format", "coco", "--out", tmp_path / "link/x.json"))
    assert "is one of the databases, or lies in it" in said
    said = error_of(invoke("database", "filter", out, "--sample", 2, "--out", f"{out}/some"))
    assert "is one of the databases, or lies in it" in said
    assert "the database is valid" in invoke("database", "validate", out).stdout


@pytest.mark.parametrize("kind", ["coco", "sa1b"])
def test_what_was_exported_says_itself_whose_data_it_has(out, tmp_path, kind):
    invoke("database", "export", out, "--format", kind, "--out", str(tmp_path / "x"))
    command = ("database", "import", str(tmp_path / "x"), "--format", kind, "--out", str(tmp_path / "made"))
    assert "correct them afterwards with agg database describe" in error_of(invoke(*command, "--licence", "MIT"))
    assert not (tmp_path / "made").exists()


def test_validate_says_the_identity_beside_other_findings(out):
    (Path(out) / "notes").mkdir()
    result = invoke("database", "validate", out, "--expect", "abc")
    assert result.code == 1
    assert "not the expected one" in result.stdout + result.stderr
