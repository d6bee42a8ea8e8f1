"""How commands that write to a folder start, and what they say when they are stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agg_pipeline.cli.last_words import last_words
from agg_pipeline.cli.run_log import RunLog, run_log
from schemas.errors import StoppedError, StorageError, UserError
from schemas.words import printable


def check_start(out: str) -> None:
    """Check the output folder of a command; UserError if it has no name, is a file, or is a link to nothing."""
    from agg_pipeline.storage.disk import broken_link
    from agg_pipeline.storage.store import Store

    if not out:
        raise UserError("--out is empty; name an output folder")
    store = Store(out)
    if store.is_file():
        raise UserError(f"--out {out} is a file; name a folder")
    link = broken_link(Path(store.anchored().url)) if store.is_local() else ""
    if link:
        raise UserError(f"--out: {printable(link)}; make that folder, or name another one")


@contextmanager
def recorded(out: str, overwrite: bool) -> Iterator[RunLog]:
    """A run over a data set, from its start to its end: interrupts, its log, and how to resume it.

    Args:
        out: output folder.
        overwrite: whether it runs with --overwrite.
    """
    check_start(out)
    with run_log(out) as log, resumable(overwrite):
        yield log


@contextmanager
def resumable(overwrite: bool) -> Iterator[None]:
    """Print how to resume when a run is stopped.

    Args:
        overwrite: whether the run has the option --overwrite, which must be left out then.

    Raises:
        UserError: the run had to stop.
    """
    without = " without --overwrite" if overwrite else ""
    how = f"finished shards are kept; run the same command again{without} to resume"
    try:
        yield
    except (StorageError, StoppedError) as error:
        raise UserError(f"{error}; {how}") from error
    except KeyboardInterrupt:
        last_words(f"stopped; {how}")
        sys.exit(130)
