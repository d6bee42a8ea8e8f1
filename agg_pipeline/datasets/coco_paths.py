"""Where the pictures of a COCO instance file lie: programs write it beside them, or in a folder of its own."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from agg_pipeline.datasets.coco_entries import Image
from agg_pipeline.datasets.file_listing import split_name
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.paths import stays_inside
from schemas.words import printable

MAX_IMAGES_TRIED = 8
"""Images that are looked for in each candidate folder; several, because some may be missing."""
SHOWN_IDS = 3
"""Ids of images of one file that a finding names."""


def name_of_file(image: Image) -> str:
    """Path of an image in its folder; of a URL, the folder and the name at its end."""
    if image.file_name is not None:
        return image.file_name.replace("\\", "/")
    return "/".join((image.coco_url or "").split("/")[-2:])


def image_paths(store: Store, path: str, images: Mapping[str, Image]) -> dict[str, str | None]:
    """The path of every image below the root: in the first of the usual folders that holds one of them.

    Args:
        store: root of the data set.
        path: path of the instance file.
        images: the images, by id.

    Returns:
        The paths by id; None for a name that leads out of the data set.

    Raises:
        UserError: none of the images is there.
    """
    beside, file = posixpath.split(path)
    name = split_name(file).removeprefix("instances_")
    usual = [f"{name}/", f"images/{name}/", "images/", ""]
    # Other programs put the JSON file beside the images, or beside their folder.
    candidates = (
        usual if beside == "annotations" else [posixpath.join(beside, ""), posixpath.join(beside, "data/"), *usual]
    )
    names = {image_id: name_of_file(image) for image_id, image in images.items()}
    for found in (names, {image_id: posixpath.basename(each) for image_id, each in names.items()}):
        for folder in candidates:
            paths = {image_id: _inside(folder, each) for image_id, each in found.items()}
            if _any_there(store, [each for each in paths.values() if each is not None]):
                return paths
    looked = ", ".join(f"{store.url}/{folder}" for folder in candidates)
    raise UserError(f"image {printable(next(iter(names.values())))} was not found; looked in {looked}")


def _inside(folder: str, name: str) -> str | None:
    """The path of a file in a folder of the data set; None if it would lie outside, or if there is no name."""
    path = posixpath.normpath(f"{folder}{name}")
    usable = posixpath.basename(name) and not name.startswith("/") and "://" not in name
    return path if usable and stays_inside(path) else None


def _any_there(store: Store, paths: list[str]) -> bool:
    """Whether one of the files is there; most of the time, one of the first is."""
    return any(store.exists(path) for path in paths[:MAX_IMAGES_TRIED]) or bool(store.sizes(paths[MAX_IMAGES_TRIED:]))


def shared_files(paths: Mapping[str, str | None]) -> list[str]:
    """One line per file that several images have; paths are given by image id."""
    if len({*paths.values()}) == len(paths):
        return []
    ids: dict[str, list[str]] = {}
    for image_id, path in paths.items():
        if path is not None:
            ids.setdefault(path, []).append(image_id)
    return [
        f"{printable(path)} is the file of {len(of_file):,} images ({_first(of_file)}); each has its own annotations"
        for path, of_file in ids.items()
        if len(of_file) > 1
    ]


def _first(ids: list[str]) -> str:
    shown = ", ".join(map(printable, ids[:SHOWN_IDS]))
    return shown if len(ids) <= SHOWN_IDS else f"{shown}, ..."
