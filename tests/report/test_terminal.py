"""Tables on terminals of several widths."""

import pytest

from agg_pipeline.report.printed import say, show
from agg_pipeline.report.terminal import FILE_WIDTH, print_findings, print_rows, wide_console
from schemas.findings import Finding

HEAD = ("", "NoC@80", "NoC@85", "NoC@90", "IoU@1", "Spearman", ">=20@90")
CELLS = (
    "12.34 [11.22, 13.45]",
    "12.35 [11.22, 13.45]",
    "12.36 [11.22, 13.45]",
    "0.123 [0.100, 0.150]",
    "0.50 (3 images)",
)
ROWS = [
    ("base", *CELLS, "7"),
    ("fine-tuned - base", *CELLS, "+8"),
    ("published, Table 1: GraCo w/ AGG, ViT-B", *CELLS, "-"),
]


def test_a_table_in_a_file_has_at_most_100_columns_and_keeps_every_number(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_rows("A title", HEAD, ROWS, {1, 2})
    lines = capsys.readouterr().out.splitlines()
    assert 80 < max(map(len, lines)) <= FILE_WIDTH == 100
    shown = " ".join(" ".join(line.strip("│┃").split()) for line in lines)
    assert all(shown.count(part) == len(ROWS) for part in ("12.34", "12.35", "12.36", "0.123", "[0.100, 0.150]"))
    assert "published, Table" in shown


def test_a_line_in_a_file_is_not_broken(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    long, well = " ".join(["word"] * 50), " ".join(["well"] * 50)
    show(wide_console(), long)
    print_findings([], well)
    print_findings([Finding("x" * 30, "y" * 200)], "")
    first, second, *findings = capsys.readouterr().out.splitlines()
    assert (first, second) == (long, well)
    assert max(map(len, findings)) <= FILE_WIDTH
    assert sum(line.count("y") for line in findings) == 200


def printed(capsys, monkeypatch, width, head=HEAD, rows=ROWS):
    monkeypatch.setenv("COLUMNS", str(width))
    print_rows("A title", head, rows, {1, 2})
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [80, 100, 60])
def test_a_wide_table_fits_a_narrow_terminal_and_keeps_every_number(capsys, monkeypatch, width):
    lines = printed(capsys, monkeypatch, width)
    assert max(map(len, lines)) <= width
    shown = " ".join(" ".join(line.strip("│┃").split()) for line in lines)
    for text in ("12.34", "[11.22, 13.45]", "[0.100, 0.150]", "(3 images)", "+8", *HEAD[1:], "A title"):
        assert text in shown
    tables = sum("NoC@80" in line or "IoU@1" in line or "Spearman" in line for line in lines)
    assert tables == {60: 3, 80: 2, 100: 2}[width]


def test_names_are_repeated_in_every_table(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, 80)
    assert sum("fine-tuned - base" in line for line in lines) == 2


def test_a_table_that_fits_is_one_table_with_a_line_per_row(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, 200)
    assert sum("12.34 [11.22, 13.45]" in line for line in lines) == 3
    assert sum("┃" in line for line in lines) == 1


def test_a_table_of_one_column_stays_as_it_is(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, 40, ("where",), [("a" * 60,), ("b",)])
    assert max(map(len, lines)) <= 40
    assert sum(line.count("a") for line in lines) == 60


def test_control_characters_of_others_are_shown_not_obeyed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    hostile = "a\x1b[31mb\u202ec\udce9"
    print_rows(hostile, ("name", hostile), [(hostile, "1 2"), ("line\nbreak", hostile)])
    print_findings([Finding(hostile, hostile)], "")
    print_findings([], hostile)
    say(hostile)
    show(wide_console(), hostile)
    shown = capsys.readouterr().out
    assert shown.count("a\\x1b[31mb\\u202ec\\xe9") == 9
    assert "line\\nbreak" in shown
    assert not set(shown) & set("\x1b\u202e\udce9")
