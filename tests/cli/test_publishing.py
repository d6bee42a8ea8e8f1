"""``agg database pack``, ``unpack``, ``push`` and ``pull``."""

import pytest

from tests.e2e.commands import error_of, invoke
from tests.toy_run import make_database


@pytest.fixture
def database(tmp_path):
    make_database(tmp_path / "run/database")
    return tmp_path / "run"


def said(*arguments):
    """What a command under ``agg database`` prints."""
    result = invoke("database", *arguments)
    assert result.code in (0, None), result
    return result.stdout


def refused(*arguments):
    """The error of a command under ``agg database``."""
    return error_of(invoke("database", *arguments))


def test_pack_and_unpack(database, tmp_path):
    tar, out = tmp_path / "toy.tar", tmp_path / "out"
    assert said("pack", database, tar).startswith(f"{tar}: 3 shards; ")
    assert said("unpack", tar, out) == f"{out}: 8 images in 3 shards\n"
    assert "the database is valid" in said("validate", out)
    assert refused("unpack", tar, out) == f"{out} is not empty; choose another folder"
    tar.write_bytes(tar.read_bytes()[:5000])
    assert refused("unpack", tar, tmp_path / "new") == f"{tar} cannot be unpacked: it is cut off"


def test_push_and_pull(database, tmp_path):
    there, back = "memory://published/toy", tmp_path / "back"
    assert said("push", database, there) == f"{there}: 18 files copied (0.1 MB), 0 were there\n"
    assert said("push", database, there, "--verify") == f"{there}: 0 files copied (0.0 MB), 18 were there\n"
    assert said("pull", there, back).startswith(f"{back}: 18 files copied")
    assert (
        refused("push", there, f"{there}/copy")
        == f"{there}/copy is the database itself, or lies in it; choose another folder"
    )
    assert said("id", back) == said("id", database)
    assert refused("pull", there, there) == f"{there} is the database itself, or lies in it; choose another folder"


def test_what_is_not_there(tmp_path):
    assert "memory://nothing is not a proposal database" in refused("pull", "memory://nothing", tmp_path / "x")
    assert refused("unpack", tmp_path / "x.tar", tmp_path / "x") == f"{tmp_path / 'x.tar'} does not exist"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slip", ["s3:/bucket/x", "s3:bucket/x", "hf:/datasets/lab/x", "memory:/x"])
def test_slips_in_a_url_make_no_folder(tmp_path, monkeypatch, database, slip):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    said = refused("push", database, slip)
    assert "did you mean" in said
    assert f"{slip.partition(':')[0]}://" in said
    assert sorted(tmp_path.iterdir()) == before


def test_places_without_a_database_are_told_apart(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for place, why in (
        ("x.tar", "is a file; agg database unpack"),
        ("none", "does not exist"),
        ("empty", "has neither"),
    ):
        assert f"is not a proposal database, because it {why}" in refused("id", tmp_path / place)


def test_the_folder_of_a_run_that_is_read_is_no_output(database):
    for more in ((), ("--overwrite",)):
        said = refused("filter", database, "--sample", 1, "--out", database, *more)
        assert said == f"--out {database} is the output folder of a run whose database is read; choose another folder"


def test_statistics_of_a_bucket_are_printed_and_write_no_page(database):
    there = "memory://statistics/toy"
    said("push", database, there)
    assert "no page was written; give a folder as --out for one" in said("stats", there)
