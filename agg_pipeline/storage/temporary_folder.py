"""The folder of temporary files, through which the processes of this program find each other."""

from __future__ import annotations

import os
import tempfile

from agg_pipeline.storage.attempts import cause
from schemas.errors import UserError
from schemas.words import printable

NO_FOLDER = "No usable temporary directory found"
"""Beginning of what Python says then."""
SOCKET_BYTES = 107
"""Most bytes that the path of a socket may have; the system sets this limit."""
SOCKET = "pymp-12345678/listener-12345678"
"""The sockets of multiprocessing in that folder have names of this length."""


def no_temporary_files(error: OSError) -> str:
    """Why no temporary file can be written, and what to do.

    Args:
        error: what said so. Where no folder can be used, Python's own error does not say why.
    """
    if lacks_folder(error):
        first = os.environ.get("TMPDIR") or "/tmp"  # where Python looks first
        try:
            with tempfile.TemporaryFile(dir=first) as file:
                file.write(b"x")
                file.flush()
        except OSError as found:
            error = found
    return f"cannot write temporary files: {printable(cause(error))}; set TMPDIR to a folder with room for them"


def lacks_folder(error: OSError) -> bool:
    """Whether an error is Python's for a machine without a folder for temporary files, which some imports look for."""
    return str(error.strerror).startswith(NO_FOLDER)


def check_temporary_folder() -> None:
    """Check that processes which are started from here can meet in the folder of temporary files.

    Raises:
        UserError: its path is too long, or nothing can be made in it.
    """
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryDirectory():
            pass
    except OSError as error:
        raise UserError(no_temporary_files(error)) from error
    longest = SOCKET_BYTES - len(SOCKET) - 1
    length = len(os.fsencode(folder))
    if length > longest:
        raise UserError(
            f"the folder of temporary files has a path of {length} bytes, and processes can only meet in one of at "
            f"most {longest}; set TMPDIR to a folder with a shorter path ({printable(folder)})"
        )
