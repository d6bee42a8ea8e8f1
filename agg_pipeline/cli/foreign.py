"""Packages of other projects that are imported instead of ours. ``stages`` and ``schemas`` are common names.

Imports the standard library alone, so that it can be asked before anything else is imported.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

INSTALLATION = Path(__file__).resolve().parents[2]
"""Folder that holds ``agg_pipeline`` and the packages beside it."""
NAMES = ("schemas", "stages")
"""Packages of this project whose names another project may have, too."""


def foreign_packages() -> dict[str, str]:
    """The packages that would be imported from somewhere else, and from where, by name."""
    found = {}
    for name in NAMES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places or Path(places[0]).resolve().parent != INSTALLATION:
            found[name] = places[0] if places else "nowhere"
    return found


def advice(name: str, place: str) -> str:
    """What a person can do about a foreign package."""
    return (
        f"Python imports the package {name!r} from {place}, not from {INSTALLATION}; "
        "install agg into a virtual environment of its own, or take that folder out of PYTHONPATH"
    )


def refuse_foreign_packages() -> None:
    """End with one line if a foreign package is in the way: every command would fail on it in some other way."""
    for name, place in foreign_packages().items():
        sys.exit(f"error: {advice(name, place)}")
