"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import UserError


def user_path(path: str | Path) -> Path:
    """A path as a person writes it, with ``~`` for the home folder.

    Raises:
        UserError: ``~name`` names nobody.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path} is in the home folder of an unknown user") from None
