"""How much of the time a GPU computes, as its driver says."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MILLISECONDS = 200


@contextmanager
def busy_share() -> Iterator[Callable[[], float | None]]:
    """Watch the first visible GPU during the block; what is called after it gives the share of the time, or None."""
    program = shutil.which("nvidia-smi")
    found: list[float] = []
    if program is None:
        yield lambda: None
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    asked = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", str(MILLISECONDS), "-i", visible)
    watching = subprocess.Popen((program, *asked), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield lambda: statistics.mean(found) / 100 if found else None
    finally:
        watching.terminate()
        said, _ = watching.communicate()
        found += [float(line) for line in said.split() if line.strip().isdigit()]
