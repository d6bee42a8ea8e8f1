"""Trying again what fails in passing, and telling it apart from what fails for good."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from schemas.errors import StorageError, UnusableFileError, UserError
from schemas.words import printable

T = TypeVar("T")
PAUSES = (0.2, 1.0, 3.0)
"""Seconds before the second and each further attempt."""
NEVER = {errno.EISDIR: "is a folder", errno.ELOOP: "is a loop of links", errno.ENXIO: "is a device or a pipe"}
"""Errors that say what lies in the place of a file."""
EXTRAS = {"s3fs": "s3", "huggingface_hub": "hf"}
"""The extra of this project that installs a package."""


def attempt(
    where: str, action: Callable[[], T], doing: str = "read", pauses: Sequence[float] | None = None, disk: bool = True
) -> T:
    """Do something with a file, several times if need be.

    Args:
        where: the file, for messages.
        action: what is done; its result is returned.
        doing: what is done, for messages.
        pauses: seconds before the second and each further attempt; None for ``PAUSES``.
        disk: whether the file lies on a disk; the libraries of object stores have many errors of their own.

    Raises:
        FileNotFoundError: there is no such file, or no file can have such a name.
        UnusableFileError: something else lies in its place.
        StorageError: all attempts have failed.
    """
    for pause in (*(PAUSES if pauses is None else pauses), None):
        try:
            return action()
        except UserError:
            raise
        except Exception as error:
            if _is_missing(error):
                raise FileNotFoundError(errno.ENOENT, "does not exist", where) from error
            if isinstance(error, OSError) and error.errno in NEVER:
                raise UnusableFileError(where, NEVER[error.errno]) from error
            if disk and not isinstance(error, OSError):
                raise
            if pause is None:
                raise StorageError(f"cannot {doing} {where}: {cause(error)}") from error
        time.sleep(pause)
    raise AssertionError


def _is_missing(error: Exception) -> bool:
    """Whether an error says that there is no such file, or that no file can have such a name."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | UnicodeEncodeError):
        return True
    if isinstance(error, ValueError):
        return "null byte" in str(error) or "null character" in str(error)
    return isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG


def cause(error: BaseException) -> str:
    """What an error says, in one line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    first, *others = text.splitlines()
    missing = next((extra for name, extra in EXTRAS.items() if isinstance(error, ImportError) and name in first), None)
    if missing is not None:
        return f"it needs the extra {missing}: pip install 'agg-pipeline[{missing}]'"
    return printable(f"{first} {others[0].strip()}" if first.endswith(":") and others else first)
