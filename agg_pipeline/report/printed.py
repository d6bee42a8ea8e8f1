"""What a command prints for a person: it goes to stdout or stderr, and to the log of the run."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

from schemas.words import printable_lines

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PRINTED = "agg_pipeline.printed"
"""The logger of what is printed. Logs on the terminal leave it out."""
LOG_WIDTH = 160
"""Columns of a table in the log."""


def say(line: str, err: bool = False) -> None:
    """Print a line, and log it.

    Args:
        line: the line, or several; names of users and files in it are made printable.
        err: whether it goes to stderr.
    """
    shown = printable_lines(line)
    print(shown, file=sys.stderr if err else sys.stdout, flush=True)
    logging.getLogger(PRINTED).info("%s", shown)


def show(console: Console, content: RenderableType) -> None:
    """Print a table or a text on a console, and log it without colours.

    Args:
        console: where it is printed.
        content: a table of printable cells, or a text; markup in a string is not read.
    """
    from rich.console import Console

    if isinstance(content, str):
        content = printable_lines(content)

    # The terminal breaks a line that is too long; a file keeps it whole.
    console.print(content, markup=False, soft_wrap=isinstance(content, str))
    logger = logging.getLogger(PRINTED)
    if logger.isEnabledFor(logging.INFO):
        plain = io.StringIO()
        Console(file=plain, width=LOG_WIDTH, highlight=False, color_system=None).print(
            content, markup=False, soft_wrap=isinstance(content, str)
        )
        logger.info("%s", plain.getvalue().rstrip("\n"))
