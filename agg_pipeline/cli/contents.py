"""What commands on databases share: where the result goes, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agg_pipeline.report.printed import say
from schemas.errors import UserError
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.database.reader import ProposalDatabase


LOG = logging.getLogger(__name__)


def say_contents(database: ProposalDatabase) -> None:
    """Print what a database holds, in one line."""
    sidecars = database.sidecars.values()
    objects = sum(sidecar["kinds"]["object"] for sidecar in sidecars)
    masks = sum(sum(sidecar["kinds"].values()) for sidecar in sidecars) - objects
    rejects = sum(sum(sidecar["rejects"].values()) for sidecar in sidecars)
    parts = (
        plural(sum(sidecar["images"] for sidecar in sidecars), "image"),
        plural(objects, "object"),
        plural(masks, "proposal"),
        *((f"{plural(rejects, 'reject')}, see its folder rejects",) if rejects else ()),
    )
    say(f"{database.store.url}: {', '.join(parts)}")


def warn_unfinished(databases: Sequence[ProposalDatabase]) -> None:
    """Warn of databases that are not finished: what is made of them lacks the images that are not done yet."""
    from agg_pipeline.database.manifest import finished

    for database in databases:
        if finished(database.store, database.plan, database.sidecars) is None:
            done, planned = sum(map(len, map(database.images_of_shard, database.sidecars))), database.plan["shards"]
            LOG.warning(
                "%s is not finished: %d of %s are there, and the result has only these",
                database.store.url,
                done,
                plural(sum(map(len, planned)), "image"),
            )


def roots_of(given: Sequence[str], databases: Sequence[ProposalDatabase]) -> list[tuple[str, str]]:
    """Layout, "" for any, and root folder of each --data; UserError for an unknown name or a missing folder."""
    from agg_pipeline.cli.places import name_and_root
    from agg_pipeline.database.exchange.photographs import layouts_of
    from agg_pipeline.storage.store import Store

    pairs = [name_and_root(root) for root in given]
    layouts = layouts_of((name for name, _ in pairs), databases)
    for _, root in pairs:
        if not Store(root).exists():
            raise UserError(f"--data: {Store(root).url} does not exist")
    return [(layouts[name], root) for name, root in pairs]


def check_elsewhere(out: str, databases: Sequence[ProposalDatabase]) -> None:
    """Refuse an output that is a database, lies in its folder, where files that are not of it are damage, or around it.

    Args:
        out: path or URL of the output.
        databases: the databases that are read.
    """
    from agg_pipeline.database.contents import DATABASE
    from agg_pipeline.storage.store import Store

    place = Store(out)
    for database in databases:
        if place.lies_in(database.store):
            raise UserError(f"--out {out} is one of the databases, or lies in it; choose another folder")
        if database.store.lies_in(place.below(DATABASE)):
            raise UserError(f"--out {out} is the output folder of a run whose database is read; choose another folder")
