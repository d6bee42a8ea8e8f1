"""Content as one text, its hash, and what differs between two contents."""

from __future__ import annotations

import hashlib
import json
from typing import Any

Json = dict[str, Any]
Row = dict[str, Any]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """Hex blake2b (128 bits) of the canonical JSON of a value."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def flatten(value: Any, where: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys; lists are leaves."""
    if not isinstance(value, dict):
        return {where: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{where}.{key}" if where else str(key))
    return flat


def differences(old: Any, new: Any) -> list[str]:
    """One line for each dotted key whose value differs: ``key: old -> new``."""
    before, after = flatten(old), flatten(new)
    missing = object()
    lines = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key, missing), after.get(key, missing)
        if a != b:
            lines.append(f"{key}: {_shown(a, missing)} -> {_shown(b, missing)}")
    return lines


def _shown(value: Any, missing: object) -> str:
    text = "(absent)" if value is missing else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
