"""A database from the pickle of the authors' generator, whose masks are given back to the objects of their data set."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from agg_pipeline.database.derived import write_derived
from agg_pipeline.database.exchange.imported_database import (
    ImageRows,
    foreign_object,
    foreign_plan,
    mask_row,
    pieces_of,
    reject,
)
from agg_pipeline.database.exchange.released_reading import ReleasedImage, read_released
from agg_pipeline.database.exchange.spool import Spool, spool
from agg_pipeline.database.proposal_rows import proposal_id
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.naming import Naming
from agg_pipeline.storage.local_file import open_file
from agg_pipeline.storage.rle import decode_crop
from schemas import limits
from schemas.canonical import Json, Row
from schemas.crop import MaskCrop, area, intersection, iou_above
from schemas.errors import ImageError, UserError
from schemas.numbers import granularity_bin, round_to_tenth
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord, ImageSummary, ObjectMask
from schemas.words import excerpt, few_of, plural, printable
from stages.complement import possible_complements

LOG = logging.getLogger(__name__)
CLEANED = tuple(PRESETS[preset].masks for preset in ("paper", "released"))
"""How the complements in a pickle may have been made: as in the paper, or as in the authors' program."""
SAME_COMPLEMENT = 0.98
"""Above this IoU with what is left of its object, a mask is a complement.

Objects of another copy of the data set may differ by a few pixels. A smaller IoU would take parts for complements: a
run drops a complement that has an IoU above 0.95 with a part.
"""


def import_released(path: Path, dataset: Dataset, out: str, overwrite: bool = False) -> ProposalDatabase:
    """Make a database from a pickle and the data set that it was made from.

    Args:
        path: the pickle; nothing in it is run.
        dataset: the data set. Its images whose file has the stem of an image of the pickle are used.
        out: folder of the new database.
        overwrite: whether to replace another database in the folder.

    Raises:
        UserError: the pickle is damaged or holds something else, or no image of it is in the data set.
    """
    entries: dict[str, list[ImageEntry]] = {}
    for entry in dataset.entries:
        entries.setdefault(PurePosixPath(entry.path).stem, []).append(entry)
    where = printable(str(path))
    strange: list[str] = []
    with spool() as found:

        def keep(name: str, image: ReleasedImage) -> None:
            of = entries.get(name, [])
            if len(of) > 1:
                raise UserError(
                    f"{where} has image {excerpt(name)}, and {len(of)} images of {dataset.name} are called so"
                )
            if not of:
                strange.append(name)
            else:
                found.put(of[0].image_id, (image.height, image.width, image.masks, image.shares.tolist()))

        read_released(path, keep)
        if not found and not strange:
            raise UserError(f"{where} is empty: it has no image")
        if not found:
            raise UserError(f"{where} has no image of {dataset.name}, split {dataset.split}; it has {few_of(strange)}")
        if strange:
            LOG.warning(
                "%s: %s left out, not in the data set: %s", where, plural(len(strange), "image"), few_of(strange)
            )
        about = dataset.about
        naming = Naming(dataset.called or dataset.name, about.licence, about.citation, about.homepage)
        with open_file(path, limits.EXCHANGE_FILE_BYTES) as (file, _):
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        of_file = ("released", path, sha256, len(found), naming, dataset.name, "released")
        plan = foreign_plan(*of_file, annotated=False, split=dataset.split, fingerprint=dataset.fingerprint)
        return write_derived(out, plan, pieces_of(_images(dataset, found)), overwrite=overwrite)


def _images(dataset: Dataset, found: Spool) -> Iterator[ImageRows]:
    for entry in dataset.entries:
        if entry.image_id not in found:
            continue
        try:
            record = dataset.read(entry)
            height, width, masks, shares = found.get(entry.image_id)
            if record.pixels.shape[:2] != (height, width):
                detail = f"the masks have {height} x {width} pixels, the image {record.pixels.shape[:2]}"
                raise ImageError("size_mismatch", detail)
        except ImageError as error:
            yield ImageRows(entry.image_id, (), (), [reject(entry.image_id, None, error.reason, error.detail)])
        else:
            yield _rows(record, [decode_crop(counts, height, width) for counts in masks], shares)


def _rows(record: ImageRecord, masks: Sequence[MaskCrop], shares: Sequence[Sequence[float]]) -> ImageRows:
    height, width = record.pixels.shape[:2]
    image = ImageSummary(record.image_id, record.path, height, width, record.sha256, record.licence)
    of_object: dict[int, list[Row]] = {each.instance_id: [] for each in record.objects}
    before: dict[int, MaskCrop] = {}
    rejects = []
    for number, (mask, (semantic, scale)) in enumerate(zip(masks, shares, strict=True)):
        owner = owner_of(mask, record.objects)
        if owner is None:
            what = "has no pixel" if not area(mask) else "meets no object of the data set"
            rejects.append(reject(record.image_id, None, "unreadable_object", f"mask {number} of the pickle {what}"))
            continue
        rows = of_object[owner.instance_id]
        kind, step = _place(rows, owner.mask, before.get(owner.instance_id), mask)
        before[owner.instance_id] = mask
        columns = _columns(record.image_id, owner, kind, step, semantic, scale)
        rows.append(mask_row(columns, record.image_id, mask))
    proposals = []
    for each in record.objects:
        proposals.append(foreign_object(image, each.instance_id, each.category, each.mask))
        proposals += of_object[each.instance_id]
    if not proposals and not rejects:
        rejects.append(reject(record.image_id, None, "no_object", "the data set has no object in it"))
    names = ("image_id", "path", "height", "width", "sha256", "licence")
    return ImageRows(
        record.image_id, proposals, [{name: getattr(image, name) for name in names} | {"source": 0}], rejects
    )


def owner_of(mask: MaskCrop, objects: Sequence[ObjectMask]) -> ObjectMask | None:
    """The object that a mask belongs to.

    It is the one that contains most of the mask, and among those that contain about as much the most similar one.

    Args:
        mask: the mask.
        objects: objects of the same image.

    Returns:
        The object; None if the mask meets none.
    """
    best, found = (0.0, 0.0), None
    pixels = area(mask)
    for each in objects:
        both = intersection(mask, each.mask)
        if both:
            score = round_to_tenth(both / pixels), both / (pixels + area(each.mask) - both)
            if found is None or score > best:
                best, found = score, each
    return found


def _place(rows: Sequence[Row], object_mask: MaskCrop, before: MaskCrop | None, mask: MaskCrop) -> tuple[str, int]:
    """Kind and step of an object's next mask: the complement of the mask before it, or another part.

    The pickle says neither. A mask is a complement if it follows a part and is what ``add_complements`` makes of it.

    Args:
        rows: rows of the object's masks so far.
        object_mask: mask of the object.
        before: the last of its masks so far; None if there is none.
        mask: the next one.
    """
    if before is not None and rows[-1]["kind"] == "part":
        rests = (rest for config in CLEANED for rest in possible_complements(object_mask, before, config))
        if any(iou_above(mask, rest, SAME_COMPLEMENT) for rest in rests):
            return "complement", rows[-1]["step"]
    return "part", sum(row["kind"] == "part" for row in rows)


def _columns(image_id: str, owner: ObjectMask, kind: str, step: int, semantic: float, scale: float) -> Json:
    # As the authors' program combines both, see schemas.config.GranularityConfig.
    mixed = 0.9 * scale + 0.1 * semantic if abs(scale - semantic) < 0.1 else scale
    granularity = round_to_tenth(mixed)
    return {
        "proposal_id": proposal_id(image_id, owner.instance_id, kind, step),
        "instance_id": owner.instance_id,
        "category": owner.category,
        "kind": kind,
        "step": step,
        "parent_id": proposal_id(image_id, owner.instance_id, "object", 0),
        "scale": scale,
        "semantic": semantic,
        "granularity": granularity,
        "bin": granularity_bin(granularity),
        "source": 0,
    }
