"""Errors that a user can mend; the command line prints their text as one line."""


class UserError(Exception):
    """Input or environment is wrong; the message says what, where, and what to do."""


class StorageError(UserError):
    """A file cannot be written: the disk is full, or the folder is missing or not writable."""


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
