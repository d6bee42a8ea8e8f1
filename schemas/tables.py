"""Arrow schemas of the proposal database, written down column by column, and the closed list of reject reasons."""

from __future__ import annotations

import pyarrow as pa

FORMAT_VERSION = 1
"""Major version of the format of databases; readers refuse others."""
FORMAT_MINOR = 1
"""Minor version: a newer one only adds columns and keys, which readers of older ones pass on."""
KINDS = ("object", "part", "complement", "annotated")
LEVELS = ("object", "part")
"""Levels of evaluated masks."""

REASONS: dict[str, str] = {
    "unreadable_image": "the image file is missing, truncated or of an unknown format",
    "unreadable_annotation": "the annotation is missing, broken or lacks what it should hold",
    "size_mismatch": "a mask has another size than its image",
    "no_object": "the image has no object",
    "killed_worker": "the process that worked on the image died again and again",
    "unreadable_object": "the annotation of one object is broken; the image's others are used",
    "empty_object": "the object's mask has no pixel",
    "all_ignored": "every pixel of the mask is ignored",
    "sparse_object": "the object fills too little of its bounding box",
    "no_click": "no click far enough from the earlier ones was found, so the loop ended",
    "empty": "no pixel is left of the mask",
    "small": "the mask is smaller than the minimum area",
    "equals_object": "the mask is the object again",
    "duplicate": "the mask repeats an earlier proposal of the object",
}

IMAGE_REASONS = ("unreadable_image", "unreadable_annotation", "size_mismatch", "killed_worker")
"""Reasons for which a whole image fell out; an image that legitimately has no object is not among them."""
READING_REASONS = frozenset({"unreadable_image", "unreadable_annotation", "size_mismatch"})
"""Reasons for which an image fell out when it was read; a run that is resumed reads it again."""


def _field(name: str, kind: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, metadata={"unit": unit, "nullable": str(nullable).lower()})


def _point(*extra: pa.Field) -> pa.DataType:
    return pa.struct([pa.field("row", pa.int32(), False), pa.field("col", pa.int32(), False), *extra])


SOURCE = _field("source", pa.int32(), "number of the run that made the row, in the list of sources of the plan")
"""The column that format 1.1 has added to all tables of a database."""

_CLICK = _point()
_CLICKS = pa.list_(pa.field("element", _point(pa.field("positive", pa.bool_(), False)), False))
_BBOX = pa.struct([pa.field(name, pa.int32(), False) for name in ("x", "y", "w", "h")])

PROPOSALS = pa.schema(
    [
        _field("proposal_id", pa.string(), "image:object:kind:step, or the id of the part, or 0 for objects; unique"),
        _field("image_id", pa.string(), "id of the image in its data set"),
        _field("instance_id", pa.int64(), "id of the object in its image"),
        _field("category", pa.string(), "class of the object as published; null if unknown", nullable=True),
        _field(
            "kind",
            pa.string(),
            "object; part (a proposal); complement (what a proposal leaves of its object); annotated (a part that "
            "people drew)",
        ),
        _field(
            "step",
            pa.int32(),
            "number of the simulated interaction with the object, from 0, after which the model gave the mask; a "
            "complement has that of its proposal; null for objects and annotated parts",
            nullable=True,
        ),
        _field(
            "parent_id",
            pa.string(),
            "proposal_id of the object's row, or of the annotated part around an annotated part; null for objects",
            nullable=True,
        ),
        _field("label", pa.string(), "published name of an annotated part", nullable=True),
        _field("height", pa.int32(), "rows of the image, pixels"),
        _field("width", pa.int32(), "columns of the image, pixels"),
        _field("rle", pa.binary(), "the mask as compressed COCO run lengths, for (height, width)"),
        _field("area", pa.int64(), "pixels of the mask"),
        _field("bbox", _BBOX, "tight box of the mask, pixels: column and row of its first pixel, width, height"),
        _field("scale", pa.float32(), "[0, 1]: area of the mask over the area of its object; 1 for objects (Eq. 4)"),
        _field(
            "peak_proposal",
            pa.float32(),
            "[0, 1]: largest minus smallest probability inside the mask, after one click in it; null for objects",
            nullable=True,
        ),
        _field(
            "peak_object",
            pa.float32(),
            "[0, 1]: largest minus smallest probability inside the object, after the same click; null for objects",
            nullable=True,
        ),
        _field("semantic", pa.float32(), "[0, 1]: peak_proposal over peak_object, at most 1; 1 for objects (Eq. 5)"),
        _field(
            "granularity",
            pa.float32(),
            "[0, 1], from fine to the whole object: (1 - lambda) * scale + lambda * semantic (Eq. 6)",
        ),
        _field(
            "bin",
            pa.int8(),
            "1..10: ten times the granularity, rounded half to even, at least 1; made before the granularity was "
            "rounded to float32",
        ),
        _field("click", _CLICK, "pixels: the click after which the peaks were measured; null for objects", True),
        _field(
            "clicks",
            _CLICKS,
            "pixels: the simulated interaction that made the mask; positive clicks lie on what is wanted; null for "
            "objects and annotated parts",
            nullable=True,
        ),
        SOURCE,
    ]
)

IMAGES = pa.schema(
    [
        _field("image_id", pa.string(), "id of the image in its data set"),
        _field("path", pa.string(), "relative to the root of the data set"),
        _field("height", pa.int32(), "rows, pixels"),
        _field("width", pa.int32(), "columns, pixels"),
        _field("sha256", pa.string(), "hex, of the file; of the RGB bytes for generated images; empty if unknown"),
        _field("licence", pa.string(), "of the image, as published; else that of its data set"),
        SOURCE,
    ]
)

REJECTS = pa.schema(
    [
        _field("image_id", pa.string(), "id of the image in its data set"),
        _field("instance_id", pa.int64(), "id of the object in its image; null for the whole image", nullable=True),
        _field("step", pa.int32(), "step of the dropped mask, as in proposals", nullable=True),
        _field("stage", pa.string(), "stage that dropped it: load, mask_engine, postprocess or complement"),
        _field("reason", pa.string(), "from a closed list"),
        _field("detail", pa.string(), "what was found, in words", nullable=True),
    ]
)

SAMPLING = pa.schema(
    [
        _field("kind", pa.string(), "kind of the rows, as in proposals"),
        _field("bin", pa.int8(), "1..10, as in proposals"),
        _field("count", pa.int64(), "rows of this kind and bin"),
        _field("share", pa.float64(), "rows of this bin, of any kind, over all rows"),
        _field("weight", pa.float64(), "1 / share: proportional to the sampling probability of a row"),
    ]
)

FILES: dict[str, pa.Schema] = {"proposals": PROPOSALS, "images": IMAGES, "rejects": REJECTS.append(SOURCE)}
"""The tables of every shard, by the name of their folder."""


def stored_schema(name: str, minor: int) -> pa.Schema:
    """The columns of a table in a minor version of the format; newer versions may have others after them."""
    return FILES[name] if minor else pa.schema([field for field in FILES[name] if field.name != SOURCE.name])


CLICKS = pa.schema(
    [
        _field("target_id", pa.string(), "image:object:level:part id (0 for the object itself); unique for each mask"),
        _field("image_id", pa.string(), "id of the image in its data set"),
        _field("instance_id", pa.int64(), "id of the object in its image"),
        _field("level", pa.string(), "object or part"),
        _field("category", pa.string(), "class of the object as published", nullable=True),
        _field("label", pa.string(), "name of the part as published", nullable=True),
        _field("granularity", pa.float64(), "[0, 1]; null where none was given", nullable=True),
        _field("click", pa.int32(), "number of the click, from 1"),
        _field("iou", pa.float64(), "[0, 1], after the click"),
        _field("row", pa.int32(), "pixels, of the click"),
        _field("col", pa.int32(), "pixels, of the click"),
        _field("positive", pa.bool_(), "whether the click marks the object"),
        _field("chosen", pa.bool_(), "whether this interaction is the reported one of its mask"),
        _field("attempt", pa.int32(), "number of the interaction among those of its mask, from 0"),
        _field("area", pa.int64(), "pixels, of the predicted mask"),
    ]
)

TARGETS = pa.schema(
    [
        _field("target_id", pa.string(), "see objects.parquet"),
        _field("image_id", pa.string(), "id of the image in its data set"),
        _field("level", pa.string(), "object or part"),
        _field("class", pa.string(), "class in words: of the object, or of object and part", nullable=True),
        _field("height", pa.int32(), "pixels, of the image"),
        _field("width", pa.int32(), "pixels, of the image"),
        _field("area", pa.int64(), "pixels, of the mask"),
        _field("rle", pa.binary(), "compressed COCO counts of the mask"),
        _field("target", pa.float64(), "IoU at which the mask is reached"),
        _field("sha256", pa.string(), "hex, of the image file; of the RGB bytes for generated images"),
    ]
)

MASKS = pa.schema(
    [
        _field("target_id", pa.string(), "see objects.parquet"),
        _field("attempt", pa.int32(), "number of the interaction among those of its mask, from 0"),
        _field("granularity", pa.float64(), "[0, 1]; null where none was given", nullable=True),
        _field("click", pa.int32(), "number of the click after which the mask was predicted: the first, or the last"),
        _field("rle", pa.binary(), "compressed COCO counts of the predicted mask"),
    ]
)

EVALUATION_FILES: dict[str, pa.Schema] = {"objects": CLICKS, "targets": TARGETS, "masks": MASKS, "rejects": REJECTS}
"""The tables of every shard of an evaluation, by the name of their folder and, in the end, of their file."""
