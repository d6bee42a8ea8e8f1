"""The rules of resuming: which folder a run may write to, and what of an earlier one it keeps."""

from __future__ import annotations

from agg_pipeline.execution.plan import refuse_other_plan
from agg_pipeline.execution.shard_files import PLAN, Layout, damage, sidecar_path, sidecars
from agg_pipeline.storage.lock import LOCK
from agg_pipeline.storage.store import TEMPORARY, Store
from schemas.canonical import Json
from schemas.errors import UserError


def claim(store: Store, layout: Layout, plan: Json, overwrite: bool) -> None:
    """Make a folder the place of this plan: refuse what is somebody else's, delete what killed runs left."""
    refuse_foreign_files(store, layout)
    if overwrite:
        delete(store)
    # A plan under which nothing is finished protects nothing: it gives way.
    if sidecars(store, layout):
        refuse_other_plan(store, plan)
    store.write_json(PLAN, plan)
    drop_damaged(store, layout, plan["config_hash"])
    remove_leftovers(store, layout)


def remove_leftovers(store: Store, layout: Layout) -> None:
    """Delete what killed runs left: temporary files, and files of shards that have no sidecar."""
    marked = {sidecar_path(index).split("/")[1].removesuffix(".json") for index in sidecars(store, layout)}
    for path in store.files():
        folder, _, name = path.rpartition("/")
        orphan = folder in layout.folders and name.removesuffix(".parquet") not in marked
        if name.startswith(TEMPORARY) or orphan:
            store.remove(path)


def refuse_foreign_files(store: Store, layout: Layout) -> None:
    """UserError if a folder holds files that are not the layout's."""
    foreign = [path for path in store.files() if not layout.owns(path)]
    if foreign:
        raise UserError(f"{store.url} holds {foreign[0]}, which is no file of {layout.what}; choose another folder")


def drop_damaged(store: Store, layout: Layout, config_hash: str) -> None:
    """Delete the sidecars of shards whose files are not what they say: these shards are to be made again."""
    for index, sidecar in sidecars(store, layout).items():
        if sidecar["config_hash"] != config_hash or damage(store, sidecar):
            store.remove(sidecar_path(index))


def delete(store: Store) -> None:
    """Delete all files of a folder but its lock."""
    for path in store.files():
        if path != LOCK:
            store.remove(path)
