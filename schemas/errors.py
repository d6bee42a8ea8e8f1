"""Errors that a user can mend; the command line prints their text as one line."""


class UserError(Exception):
    """Input or environment is wrong; the message says what, where, and what to do."""


class StorageError(UserError):
    """A file cannot be read or written now: no permission, a full disk, a missing mount, no network.

    It says nothing about the file's content: whoever meets it stops, and tries again when the run is resumed.
    """


class StoppedError(UserError):
    """A run had to stop, and can be resumed; the commands add how to the message."""


class UnusableFileError(UserError):
    """What lies in the place of a file can never be read as one.

    It is a folder, a pipe, a device, a loop of links, or a file above its limit in ``schemas.limits``.

    Attributes:
        where: the file.
        what: what is wrong with it, such as ``is a folder``.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what)
        self.where = where
        self.what = what

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


class ImageError(Exception):
    """One image cannot be used; the run continues without it.

    Attributes:
        reason: one of ``schemas.tables.REASONS``.
        detail: one line that says what is wrong; paths are relative to the data root.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


NO_MEMORY = (
    *("allocate", "out of memory", "bad_alloc", "Insufficient memory"),
    *("can't start new thread", "failed to map segment"),
    # What cuBLAS and cuDNN say on a full GPU.
    "ALLOC_FAILED",
)
"""What libraries say when memory is short; they raise errors of many kinds."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or of a library says that memory is short."""
    return isinstance(error, MemoryError) or (
        not isinstance(error, UserError | ImageError) and any(words in str(error) for words in NO_MEMORY)
    )
