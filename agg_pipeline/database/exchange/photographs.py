"""The photographs of a database, where their files can be found."""

from __future__ import annotations

import hashlib

from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Row
from schemas.errors import UserError
from schemas.paths import stays_inside
from schemas.words import excerpt


def photograph(store: Store, image: Row) -> bytes:
    """The file of an image.

    Args:
        store: root of the data set.
        image: its row of ``images``.

    Raises:
        UserError: the file is missing, or another one than the masks were made of.
    """
    path = image["path"]
    where = f"{store.url}/{excerpt(path)}"
    if not stays_inside(path):
        raise UserError(
            f"image {excerpt(image['image_id'])} has the path {excerpt(path)}, which leads out of the data set"
        )
    try:
        content = store.read(path, limits.IMAGE_FILE_BYTES)
    except FileNotFoundError:
        raise UserError(f"{where} does not exist; give the root folder of the data set as --data FOLDER") from None
    if image["sha256"] and hashlib.sha256(content).hexdigest() != image["sha256"]:
        raise UserError(f"{where} is another file than the one that the masks were made of: its sha256 differs")
    return content
