"""The paper's tables with our results among the published rows."""

import dataclasses

import pytest

from agg_pipeline.evaluation.published import all_published
from agg_pipeline.evaluation.table_of_paper import MeasuredRow, measured_row, paper_table
from schemas.errors import UserError
from tests.e2e.commands import error_of, invoke
from tests.evaluation.test_compare import two  # noqa: F401  # a fixture

ROW = MeasuredRow("ours", "grabcut", {"0.85": "1.50", "0.90": "2.25", "IoU@1": "0.71"}, 0.0125, 2_500_000, 50)


def cells(table, name):
    row = next(row for row in table.rows if row[0] == name)
    return dict(zip(table.head, row, strict=True))


def test_published_rows_are_as_printed():
    columns, rows = all_published(1)
    assert len(columns) == 10 and columns[0] == ("grabcut", "0.85")
    assert len(rows) == 23
    table = paper_table([ROW], 1)
    assert cells(table, "GraCo w/ GT+AGG, ViT-B")["sbd NoC@90"] == "4.65"
    assert cells(table, "RITM, HRNet-18")["partimagenet NoC@85"] == "9.02"
    assert table.rules == {23}
    assert cells(paper_table([ROW], 2), "SAM (best of three masks), ViT-L")["sa1b IoU@1"] == "0.91"


def test_our_evaluations_of_one_method_are_one_row():
    davis = dataclasses.replace(ROW, dataset="davis", values={"0.90": "5.00"}, seconds=0.0375)
    other = dataclasses.replace(ROW, method="theirs", seconds=None, parameters=None)
    table = paper_table([ROW, davis, other], 1)
    assert len(table.rows) == 23 + 2
    own = cells(table, "ours")
    assert (own["grabcut NoC@85"], own["grabcut NoC@90"], own["davis NoC@90"]) == ("1.50", "2.25", "5.00")
    assert own["sbd NoC@85"] == own["davis NoC@85"] == "-"
    assert (own["SPC"], own["weights"]) == ("25 ms", "2.5M")
    assert (cells(table, "theirs")["SPC"], cells(table, "theirs")["weights"]) == ("-", "-")


def test_sets_that_the_paper_does_not_have_get_columns():
    table = paper_table([dataclasses.replace(ROW, dataset="demo"), ROW], 1)
    assert table.head[-5:] == ("demo NoC@85", "demo NoC@90", "demo IoU@1", "SPC", "weights")
    assert cells(table, "ours")["demo IoU@1"] == "0.71"
    assert cells(table, "SimpleClick, ViT-B")["demo NoC@85"] == "-"


def test_two_results_of_one_method_and_set_need_names():
    with pytest.raises(UserError, match="two of the results are of ours on grabcut; give one of them another --name"):
        paper_table([ROW, ROW], 1)


def test_results_are_read_as_they_are(two):  # noqa: F811
    row = measured_row(two[0].name, None)
    assert row.dataset == "sbd"
    assert row.values["0.90"] == "2.50" and row.values["IoU@1"] == "0.45"
    assert row.masks == 2 and row.seconds is None
    assert measured_row(two[0].name, "mine").method == "mine"


def test_the_command_prints_tables_and_refuses_what_it_cannot_name(two):  # noqa: F811
    names = [each.name for each in two]
    done = invoke("eval", "table", *names, "--name", "first", "--name", "second", "--format", "markdown")
    assert "| GraCo w/ GT+AGG, ViT-L | 1.18 | 1.20 |" in done.stdout
    assert "| second | - | - |" in done.stdout
    assert "1 name for 2 folders" in error_of(invoke("eval", "table", *names, "--name", "one"))
    assert "give one of them another --name" in error_of(invoke("eval", "table", *names))
