"""Where OpenCV must give the same numbers every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def without_ipp() -> Iterator[None]:
    """Use OpenCV's own routines instead of Intel's (IPP), in this thread.

    The last bits of Intel's distance transform vary with the array's place in memory.
    """
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
