"""JSON values as canonical text, their hash, and their differences."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from schemas.words import excerpt

Json = dict[str, Any]
"""A JSON object."""
Row = dict[str, Any]
"""A row of a table, by column."""
MAX_SHOWN = 80
"""Characters of a value that ``differences`` shows."""

_ABSENT = object()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and without spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """Hex blake2b hash (128 bits) of the canonical JSON of a value."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def flatten(value: Any, where: str = "") -> dict[str, Any]:
    """Flatten nested dicts into one dict with dotted keys.

    Args:
        value: nested dicts; lists are not flattened.
        where: key of ``value`` itself, put before its keys.
    """
    if not isinstance(value, dict):
        return {where: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{where}.{key}" if where else str(key))
    return flat


def differences(old: Any, new: Any) -> list[str]:
    """Compare two values.

    Returns:
        One line per dotted key whose value differs, such as ``seed: 0 -> 1``, sorted by key.
    """
    before, after = flatten(old), flatten(new)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if a != b:
            lines.append(f"{excerpt(key)}: {_shown(a)} -> {_shown(b)}")
    return lines


def _shown(value: Any) -> str:
    text = "(absent)" if value is _ABSENT else json.dumps(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
