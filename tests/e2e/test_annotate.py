"""Annotated parts through the command line: a database of their own, and what it is refused for."""

import pytest

from agg_pipeline import open_proposals
from tests.e2e.commands import error_of, invoke

QUICK = (
    "--limit-images",
    "2",
    "--images-per-shard",
    "2",
    "--input-size",
    "64",
    "--gallery-images",
    "1",
    "--workers",
    "1",
)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """A database of the annotated parts of two demo images."""
    out = tmp_path_factory.mktemp("annotated") / "out"
    result = invoke("proposals", "annotate", "--dataset", "demo", "--out", out, *QUICK)
    assert result.code == 0, result
    return out


def test_annotated_database_is_valid_and_holds_nothing_simulated(annotated):
    assert invoke("proposals", "validate", annotated).code == 0
    rows = open_proposals(annotated).proposals(["kind", "label", "step"]).to_pylist()
    assert {row["kind"] for row in rows} == {"object", "annotated"}
    assert all(row["label"] and row["step"] is None for row in rows if row["kind"] == "annotated")
    assert sum(row["kind"] == "annotated" for row in rows) > 20
    assert "as people annotated them" in (annotated / "database/README.md").read_text()


def test_statistics_count_the_annotated_parts_and_show_their_classes(annotated, tmp_path):
    result = invoke("proposals", "stats", annotated, "--parts", "demo", "--out", tmp_path)
    assert result.code == 0, result
    # Annotated rows are no proposals: there is nothing to meet the parts with.
    assert "0 masks" in result.stdout
    assert "animal" in (tmp_path / "stats.html").read_text() or "vehicle" in (tmp_path / "stats.html").read_text()
    assert (tmp_path / "stats.png").stat().st_size > 1000


def test_simulated_proposals_do_not_go_into_it(annotated):
    error = error_of(invoke("proposals", "run", "--dataset", "demo", "--out", annotated, *QUICK))
    assert "another run" in error
    assert "source" in error


def test_set_without_parts_is_refused(tmp_path, finished):
    error = error_of(invoke("proposals", "annotate", "--dataset", "sbd", "--data", finished.data, "--out", tmp_path))
    assert "no annotated parts" in error
    assert "pascal_part" in error


def test_statistics_of_a_set_without_parts_are_refused(annotated):
    error = error_of(invoke("proposals", "stats", annotated, "--parts", "sbd:somewhere"))
    assert "no annotated parts" in error


def test_source_is_no_setting_of_a_file(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('source = "gt"\n')
    error = error_of(invoke("proposals", "run", "--dataset", "demo", "--out", tmp_path / "out", "--config", config))
    assert "source" in error
    assert "annotate" in error


def test_database_is_no_output_folder(annotated):
    error = error_of(invoke("proposals", "annotate", "--dataset", "demo", "--out", annotated / "database", *QUICK))
    assert "is a database itself" in error
    assert not (annotated / "database/database").exists()
