"""The text of files that people write, in the encodings that their editors save."""

from __future__ import annotations

import codecs


def text_of(content: bytes, errors: str = "strict") -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, as PowerShell and some editors write it.

    Args:
        content: bytes of the file.
        errors: what becomes of bytes that are not UTF-8, as of ``bytes.decode``.

    Returns:
        The text without the mark.

    Raises:
        UnicodeDecodeError: it is in another encoding.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors)
