"""The text of files that people write, in the encodings that their editors save."""

from __future__ import annotations

import codecs
import tomllib
from typing import Any

from schemas.errors import UserError


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


def toml_of(content: bytes, where: str) -> dict[str, Any]:
    """The values of a TOML file.

    Args:
        content: bytes of the file.
        where: the file, for messages.

    Raises:
        UserError: it is not TOML.
    """
    try:
        return tomllib.loads(text_of(content))
    except RecursionError:
        raise UserError(f"{where} is not TOML: it is nested too deep") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{where} is not TOML: {error}") from error
    except ValueError:
        raise UserError(f"{where} holds a number of thousands of digits") from None
