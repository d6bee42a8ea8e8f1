"""Errors that a user can mend: their text is the one line that the command line prints."""


class UserError(Exception):
    """Something outside the program is wrong; the message says what, and what to do."""


class StorageError(UserError):
    """A file could not be written: disk full, no permission, no folder."""


class ImageError(Exception):
    """One image cannot be used. reason: from ``schemas.tables.REASONS``; detail: one line, relative paths only."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
