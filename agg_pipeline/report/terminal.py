"""Tables on the terminal."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.findings import Finding

SHOWN_FINDINGS = 50
"""Findings that are printed; the others are only counted."""
FILE_WIDTH = 200
"""Columns of a line where the output is not a terminal."""


def wide_console() -> Console:
    """The terminal; in a file or a pipe, lines are not cut at a terminal's width."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console


def print_rows(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], rules: Container[int] = frozenset()
) -> None:
    """Print a table.

    Args:
        title: line above the table.
        head: names of the columns; the first column is text, the others are numbers.
        rows: cells as text.
        rules: numbers of the rows before which a line is drawn.
    """
    console = wide_console()
    # rich would wrap the title to the table's width.
    console.print(Text(title, style="bold"))
    table = Table(header_style="bold")
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for number, row in enumerate(rows):
        if number in rules:
            table.add_section()
        # Text, so that brackets are not read as markup.
        table.add_row(*map(Text, row))
    console.print(table)


def print_findings(findings: Sequence[Finding], all_well: str) -> None:
    """Print findings.

    Args:
        findings: what was found; the first 50 are printed.
        all_well: line to print if nothing was found.
    """
    if not findings:
        Console(highlight=False).print(all_well, markup=False)
        return
    table = Table(
        title=f"{len(findings)} findings, the first {min(len(findings), SHOWN_FINDINGS)}", title_justify="left"
    )
    for name in ("where", "what"):
        table.add_column(name, overflow="fold")
    for finding in findings[:SHOWN_FINDINGS]:
        table.add_row(Text(finding.where), Text(finding.what))
    Console(highlight=False).print(table)
