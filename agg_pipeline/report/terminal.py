"""Tables on the terminal."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agg_pipeline.report.printed import show
from schemas.findings import Finding
from schemas.words import plural, printable

Column = tuple[str, ...]
"""The name of a column and its cells."""
SHOWN_FINDINGS = 50
"""Findings that are printed; the others are only counted."""
FILE_WIDTH = 100
"""Columns of a table where the output is not a terminal, as of the help: what editors, log viewers and reviews show
without wrapping."""
NAMES_SHARE = 4
"""The first column of a table that is too wide is folded at this fraction of the terminal's width."""


def wide_console() -> Console:
    """The terminal; in a file or a pipe, ``FILE_WIDTH`` columns unless the variable COLUMNS says otherwise."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console


def print_rows(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], rules: Container[int] = frozenset()
) -> None:
    """Print a table.

    On a narrow terminal a number's interval goes to a line of its own, and columns that do not fit beside the others
    go into further tables below.

    Args:
        title: line above the table.
        head: names of the columns; the first column is text, the others are numbers.
        rows: cells as text.
        rules: numbers of the rows before which a line is drawn.
    """
    console = wide_console()
    # rich would wrap the title to the table's width.
    show(console, Text(printable(title), style="bold"))
    lines = [[printable(cell) for cell in line] for line in (head, *rows)]
    columns: list[Column] = list(zip(*lines, strict=True))
    if _width(columns) <= console.width:
        _print_block(console, columns, rules)
        return
    names, *numbers = columns
    broken = [tuple(cell.replace(" ", "\n", 1) for cell in column) for column in numbers]
    for block in _blocks(names, broken, console.width):
        _print_block(console, block, rules, console.width // NAMES_SHARE)


def _print_block(
    console: Console, columns: Sequence[Column], rules: Container[int], names_width: int | None = None
) -> None:
    table = Table(header_style="bold")
    for number, column in enumerate(columns):
        most = None if number else names_width
        table.add_column(Text(column[0]), justify="right" if number else "left", overflow="fold", max_width=most)
    for number, cells in enumerate(zip(*(column[1:] for column in columns), strict=True)):
        if number in rules:
            table.add_section()
        # Text, so that brackets are not read as markup.
        table.add_row(*map(Text, cells))
    show(console, table)


def _blocks(names: Column, numbers: Sequence[Column], width: int) -> list[list[Column]]:
    """Columns of numbers that fit beside each other, each block with the column of names before it."""
    blocks = [[names]]
    for column in numbers:
        if len(blocks[-1]) > 1 and _width([*blocks[-1], column], width // NAMES_SHARE) > width:
            blocks.append([names])
        blocks[-1].append(column)
    return blocks


def _width(columns: Sequence[Column], most: int = 10**9) -> int:
    """Characters that a table with these columns takes. most: width of the first one at which it is folded."""
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    return min(widths[0], most) + sum(widths[1:]) + 3 * len(widths) + 1


def print_findings(findings: Sequence[Finding], all_well: str) -> None:
    """Print findings.

    Args:
        findings: what was found; the first 50 are printed.
        all_well: line to print if nothing was found.
    """
    if not findings:
        show(wide_console(), all_well)
        return
    left_out = f", the first {SHOWN_FINDINGS}" if len(findings) > SHOWN_FINDINGS else ""
    table = Table(title=f"{plural(len(findings), 'finding')}{left_out}", title_justify="left")
    for name in ("where", "what"):
        table.add_column(name, overflow="fold")
    for finding in findings[:SHOWN_FINDINGS]:
        table.add_row(Text(printable(finding.where)), Text(printable(finding.what)))
    show(wide_console(), table)
