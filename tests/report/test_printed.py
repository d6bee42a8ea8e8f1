"""What is printed for a person is logged as well."""

import io
import logging

import pytest
from rich.console import Console
from rich.table import Table

from agg_pipeline.report.printed import PRINTED, say, show


@pytest.fixture
def logged():
    """The messages that the logger of printed lines is given."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    logger = logging.getLogger(PRINTED)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_a_line(logged, capsys):
    say("100 % of [bold] images")
    assert capsys.readouterr().out == "100 % of [bold] images\n"
    assert logged == ["100 % of [bold] images"]


def test_a_table_is_logged_without_colours(logged):
    table = Table("name", "count", title="Masks", header_style="bold")
    table.add_row("parts", "12")
    terminal = io.StringIO()
    show(Console(file=terminal, force_terminal=True, width=30), table)
    assert "\x1b[1m" in terminal.getvalue()
    assert len(logged) == 1
    assert "\x1b" not in logged[0]
    rows = [line.replace("│", " ").split() for line in logged[0].splitlines()]
    assert ["parts", "12"] in rows
    assert not logged[0].endswith("\n")


def test_brackets_are_no_markup(logged):
    terminal = io.StringIO()
    show(Console(file=terminal, width=80), "4.00 [4.00, 4.00]")
    assert terminal.getvalue() == "4.00 [4.00, 4.00]\n"
    assert logged == ["4.00 [4.00, 4.00]"]


def test_nothing_is_rendered_twice_without_a_log():
    logging.getLogger(PRINTED).setLevel(logging.WARNING)
    rendered = []

    class Counted:
        def __rich__(self):
            rendered.append(1)
            return "x"

    show(Console(file=io.StringIO()), Counted())
    assert len(rendered) == 1
    logging.getLogger(PRINTED).setLevel(logging.NOTSET)


def test_names_reach_no_terminal_as_they_are(logged, capsys):
    say("left out: \x1b[31m\udcff", err=True)
    assert capsys.readouterr() == ("", "left out: \\x1b[31m\\xff\n")
    assert logged == ["left out: \\x1b[31m\\xff"]
