"""Paths as people write them."""

from __future__ import annotations

import os
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


def real_path(path: str | Path) -> Path:
    """The absolute path without links; where links lead in a circle, they stay in it, and opening it says so."""
    # Path.resolve raises RuntimeError for such links.
    return Path(os.path.realpath(path))
