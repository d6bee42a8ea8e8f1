"""The last line of a command, and its end where nothing can be printed any more."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import NoReturn

import click

from schemas.words import printable_lines


def last_words(text: str) -> None:
    """Print a line to the error output; where that is closed or full, nothing."""
    with suppress(OSError):
        click.echo(printable_lines(text), err=True)


def end_without_output(error: OSError) -> NoReturn:
    """End a command that cannot print: quietly if its reader has left (``agg ... | head``), else with a line.

    Files are read and written through the store, which has errors of its own. What is left are the outputs.

    Args:
        error: what printing raised.
    """
    closed = error.errno == errno.EPIPE
    if not closed:
        where = f"{error.filename}: " if error.filename else "cannot print: "
        last_words(f"error: {where}{error.strerror or error}")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # What is still in its buffer would be tried again at the end of the interpreter.
            with suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
    sys.exit(1 if closed else 2)


def end_without_memory() -> NoReturn:
    """End a command for which the machine, or the limit of its processes, has not enough memory."""
    last_words("error: there is not enough memory; end other programs, or use fewer --workers or --loaders")
    sys.exit(2)
