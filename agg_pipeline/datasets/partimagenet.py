"""Part annotations in the layout of PartImageNet: ``annotations/<split>/<stem>.png``, ``class_names.json``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agg_pipeline.datasets.images import BROKEN_IMAGE
from agg_pipeline.storage import Store
from schemas.errors import UserError

BACKGROUND = 40


def open_parts(root: str) -> Callable[[str], Mapping[str, NDArray[np.bool_]]]:
    """A function from an image's id (the stem of its annotation, in any split) to its parts: name -> (H, W) mask."""
    store = Store(root)
    if not store.exists("annotations") or not store.exists("class_names.json"):
        raise UserError(f"{root} holds no part annotations: looked for {root}/annotations and {root}/class_names.json")
    names = {c["id"]: str(c["name"]) for c in store.read_json("class_names.json")["categories"]}
    paths = {path.rpartition("/")[2].removesuffix(".png"): path for path in store.files("annotations")}

    def parts_of(image_id: str) -> Mapping[str, NDArray[np.bool_]]:
        if image_id not in paths:
            return {}
        try:
            with Image.open(io.BytesIO(store.read(paths[image_id]))) as image:
                labels = np.asarray(image)
        except BROKEN_IMAGE as error:
            raise UserError(f"{root}/{paths[image_id]} is no readable image: {error}") from error
        return {names.get(int(n), str(n)): labels == n for n in np.unique(labels) if n != BACKGROUND}

    return parts_of
