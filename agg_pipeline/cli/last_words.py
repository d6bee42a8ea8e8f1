"""The last line of a command, and its end where nothing can be printed any more."""

from __future__ import annotations

import errno
import os
import select
import sys
from contextlib import suppress
from io import RawIOBase, UnsupportedOperation
from typing import NoReturn, TextIO

import click

from agg_pipeline.storage.attempts import cause
from schemas.words import printable_lines


def last_words(text: str) -> None:
    """Print a line to the error output; where that is closed or full, nothing."""
    with suppress(OSError):
        click.echo(printable_lines(text), err=True)


def end_of_error(error: OSError) -> NoReturn:
    """End a command for an error of the system that nothing has translated.

    It ends quietly if the reader of its output has left (``agg ... | head``), else with a line.

    Args:
        error: what was raised.
    """
    closed = False
    if is_of_output(error):
        closed = error.errno == errno.EPIPE
        said = f"cannot print: {cause(error)}"
    else:
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        where = " and ".join(names) or (type(error).__name__ if str(error) else "")
        advice = "" if names else "; agg --debug shows where it comes from"
        said = f"{where}: {cause(error)}{advice}" if where else f"{cause(error)}{advice}"
    if not closed:
        last_words(f"error: {said}")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in _streams():
        try:
            stream.flush()
        except OSError:
            # What is still in its buffer would be tried again at the end of the interpreter.
            with suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
    sys.exit(1 if closed else 2)


def is_of_output(error: OSError) -> bool:
    """Whether an error is one of printing: it names no file, and one of the outputs cannot be written now."""
    return error.filename is None and any(_is_broken(stream, error) for stream in _streams())


def _is_broken(stream: TextIO, error: OSError) -> bool:
    try:
        stream.flush()
        number = stream.fileno()
    except OSError as found:
        # An output in memory has no number.
        return not isinstance(found, UnsupportedOperation)
    except ValueError:
        return True
    if error.errno == errno.EPIPE:
        watched = select.poll()
        watched.register(number, 0)
        return any(event & select.POLLERR for _, event in watched.poll(0))
    # Without a buffer (PYTHONUNBUFFERED) nothing is left that flushing would try again.
    return error.errno == errno.ENOSPC and isinstance(getattr(stream, "buffer", None), RawIOBase)


def _streams() -> list[TextIO]:
    """The outputs; an output that was closed before the start is None."""
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def end_without_memory() -> NoReturn:
    """End a command for which the machine, or the limit of its processes, has not enough memory."""
    last_words("error: there is not enough memory; end other programs, or use fewer --workers or --loaders")
    sys.exit(2)
