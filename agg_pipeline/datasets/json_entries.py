"""How many entries the lists of a JSON document have, found out before they are held in memory."""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 22
"""Bytes that are looked at at a time."""
COMMA, QUOTE = ord(","), ord('"')
STEPS = np.zeros(256, np.int8)
"""How much deeper the nesting is behind a byte."""
STEPS[[*b"[{"]] = 1
STEPS[[*b"]}"]] = -1


def most_entries(content: bytes) -> int:
    """Number of entries that the longest list in a document, which is an object, has at most.

    It is that of the commas in all values of the object together, without those in their entries. Nothing of the
    document is checked.

    Args:
        content: the document.
    """
    # The quotes that are left begin and end texts.
    bare = np.frombuffer(content.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    depth = commas = quotes = 0
    for start in range(0, len(bare), CHUNK):
        part = bare[start : start + CHUNK]
        texts = quotes + np.cumsum(part == QUOTE, dtype=np.int32)
        outside = texts % 2 == 0
        depths = depth + np.cumsum(STEPS[part] * outside, dtype=np.int32)
        commas += int(np.count_nonzero((part == COMMA) & (depths == 2) & outside))
        depth, quotes = int(depths[-1]), int(texts[-1]) % 2
    return commas + 1
