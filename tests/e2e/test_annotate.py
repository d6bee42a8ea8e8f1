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


def test_annotated_parts_are_no_proposals_to_meet_parts_with(annotated):
    error = error_of(invoke("proposals", "stats", annotated, "--parts", "demo"))
    assert "holds no proposals" in error


def test_statistics_count_the_annotated_parts(annotated, tmp_path):
    result = invoke("proposals", "stats", annotated, "--out", tmp_path)
    assert result.code == 0, result
    assert "annotated</th>" in (tmp_path / "stats.html").read_text()
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


def test_choice_of_classes_is_in_plan_and_card_and_an_empty_one_is_told(tmp_path):
    command = ("proposals", "annotate", "--dataset", "demo", "--out", tmp_path, *QUICK)
    result = invoke(*command, "--class", "vehicle", "--class", "animal", "--skip-class", "plant")
    assert result.code == 0, result
    assert "WARNING: --class animal matches no mask of the 2 images of this run" in result.stderr.splitlines()
    selection = {"classes": ["animal", "vehicle"], "skip_classes": ["plant"], "excluded_images": 0}
    assert open_proposals(tmp_path).plan["dataset"]["selection"] == selection
    assert "classes animal, vehicle, without plant" in (tmp_path / "database/README.md").read_text()
    assert "dataset.selection" in error_of(invoke(*command, "--class", "figure", "--class", "plant"))
    result = invoke(*command, "--class", "animal", "--overwrite")
    assert result.code == 2
    assert "no mask of the chosen classes there; its classes: animal, figure, plant, vehicle" in result.stderr


def test_database_is_no_output_folder(annotated):
    error = error_of(invoke("proposals", "annotate", "--dataset", "demo", "--out", annotated / "database", *QUICK))
    assert "is a proposal database itself; give the folder around it as --out" in error
    assert not (annotated / "database/database").exists()
