"""The pickle that the authors' training program reads, written image by image (protocol, section 4)."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from io import BufferedWriter
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.database.exchange.new_files import new_file
from agg_pipeline.database.exchange.own_facts import by_image
from agg_pipeline.database.reader import ProposalDatabase
from schemas import limits
from schemas.canonical import Row
from schemas.errors import UserError
from schemas.numbers import round_to_tenth
from schemas.words import excerpt

# Names that NumPy had when the program was written, and still understands.
RECONSTRUCT = pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n"
NDARRAY, DTYPE = pickle.GLOBAL + b"numpy\nndarray\n", pickle.GLOBAL + b"numpy\ndtype\n"
PROTOCOL = b"\x03"
"""The oldest protocol that has bytes."""


def export_released(database: ProposalDatabase, out: Path) -> None:
    """Write the masks of a database as the authors' training program reads them.

    The file is a dict of images by the stems of their files. ``mask`` is (n, H, W) uint8, 0 or 1; ``gra`` is (n, 2)
    float64: semantic granularity and scale, rounded to 0.1. The objects themselves are not in it.

    Args:
        database: the database.
        out: path of the new file.

    Raises:
        UserError: the file is there already, there is no mask of a part, two images have the same stem, or an image has
            too many masks.
    """
    seen: dict[str, str] = {}
    with new_file(out) as file:
        file.write(pickle.PROTO + PROTOCOL + pickle.EMPTY_DICT)
        for image, rows in by_image(database):
            masks = _in_order(rows)
            if not masks:
                continue
            stem, image_id = PurePosixPath(image["path"]).stem, image["image_id"]
            if stem in seen:
                raise UserError(
                    f"images {excerpt(seen[stem])} and {excerpt(image_id)} have the same file name {excerpt(stem)}, "
                    "which is how the pickle knows them; split the database before it is exported"
                )
            seen[stem] = image_id
            _image(file, database, stem, image_id, masks)
        if not seen:
            raise UserError(
                f"{database.store.url} has no masks but those of objects, which the pickle does not hold; export it in "
                "another format"
            )
        file.write(pickle.STOP)


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """The masks of an image as in the authors' file: object by object, a complement right after its proposal."""
    places: dict[int, int] = {}
    for row in rows:
        places.setdefault(row["instance_id"], len(places))

    def order(row: Row) -> tuple[int, int, int, bool]:
        # Steps are numbered by every run anew.
        return places[row["instance_id"]], row["source"], row["step"] or 0, row["kind"] == "complement"

    return sorted((row for row in rows if row["kind"] != "object"), key=order)


def _image(file: BufferedWriter, database: ProposalDatabase, stem: str, image_id: str, rows: Sequence[Row]) -> None:
    shape = len(rows), rows[0]["height"], rows[0]["width"]
    size = shape[0] * shape[1] * shape[2]
    if size > limits.RELEASED_ARRAY_BYTES:
        raise UserError(
            f"image {excerpt(image_id)} has {shape[0]} masks of {shape[1]} x {shape[2]} pixels, {size:,} bytes in the "
            f"pickle; the limit is {limits.RELEASED_ARRAY_BYTES:,}"
        )
    shares = [[round_to_tenth(row["semantic"]), round_to_tenth(row["scale"])] for row in rows]
    file.write(_text(stem) + pickle.EMPTY_DICT + pickle.MARK + _text("mask"))
    file.write(_array_head(shape, np.dtype(np.uint8), size))
    for row in rows:
        file.write(database.mask(row).view(np.uint8).tobytes())
    file.write(_array_tail() + _text("gra") + _array(np.array(shares)))
    file.write(pickle.SETITEMS + pickle.SETITEM)


def _array(values: NDArray[np.float64]) -> bytes:
    content = values.astype("<f8").tobytes()
    return _array_head(values.shape, np.dtype("<f8"), len(content)) + content + _array_tail()


def _array_head(shape: Sequence[int], dtype: np.dtype[np.generic], size: int) -> bytes:
    """A NumPy array up to its bytes, which follow."""
    order = "|" if dtype.itemsize == 1 else "<"
    kind = f"{dtype.kind}{dtype.itemsize}"
    made = RECONSTRUCT + NDARRAY + _tuple(_integer(0)) + b"C\x01b" + pickle.TUPLE3 + pickle.REDUCE
    of = DTYPE + _text(kind) + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3 + pickle.REDUCE
    state = _integer(3) + _text(order) + 3 * pickle.NONE + 2 * _integer(-1) + _integer(0)
    described = of + pickle.MARK + state + pickle.TUPLE + pickle.BUILD
    start = pickle.MARK + _integer(1) + _tuple(*map(_integer, shape)) + described + pickle.NEWFALSE
    return made + start + pickle.BINBYTES + struct.pack("<I", size)


def _array_tail() -> bytes:
    """What follows the bytes of an array."""
    return pickle.TUPLE + pickle.BUILD


def _text(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _integer(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)


def _tuple(*parts: bytes) -> bytes:
    return pickle.MARK + b"".join(parts) + pickle.TUPLE
