"""Rows of a database that no run writes: whoever reads them says so in one line, with the file and what to do."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT, SAMPLING_FILE
from agg_pipeline.database.counts import finished_counts
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.parts import AnnotatedPart
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.proposals.recall import part_recall
from agg_pipeline.report.gallery import write_gallery
from agg_pipeline.storage.rle import encode
from agg_pipeline.training.mask_rows import choose_rows
from schemas.crop import crop_mask
from schemas.errors import UserError
from schemas.tables import FILES, SAMPLING
from tests.toy_run import make_dataset

PATH = "proposals/part-00000.parquet"
REPAIR = (
    "agg database validate lists all damage; to repair it, run the command that made it again with --verify, which "
    "makes damaged shards again"
)
LARGE = {"height": 2**31 - 1, "width": 2**31 - 1}


def change(store, edit, path=PATH):
    """Edit the rows of a table of the database."""
    rows = pq.read_table(io.BytesIO(store.read(path))).to_pylist()
    rows = edit(rows)
    store.write(path, parquet_bytes(pa.Table.from_pylist(rows, FILES[path.partition("/")[0]])))


def everywhere(**values):
    return lambda rows: [row | values for row in rows]


def once(**values):
    return lambda rows: [*rows[:-1], rows[-1] | values]


def without(chosen):
    return lambda rows: [row for row in rows if not chosen(row)]


def gallery(store):
    write_gallery(open_proposals(store.url), make_dataset(), store.above(), "gallery.html", 8, 0)


def recall(store):
    objects = {entry.image_id: make_dataset().read(entry).objects for entry in make_dataset().entries[:3]}
    return part_recall(
        open_proposals(store.url), lambda image: [AnnotatedPart("x", o.mask) for o in objects.get(image, ())], None, 0
    )


def finetune(store, definition="both"):
    return choose_rows([open_proposals(store.url)], "agg", definition)


def error_of(read, store):
    with pytest.raises(UserError) as error:
        read(store)
    place, what = str(error.value).removesuffix(f"; {REPAIR}").split(" has ", 1)
    assert str(error.value) == f"{place} has {what}; {REPAIR}"
    assert place == f"{store.url}/{PATH}"
    return what


@pytest.mark.parametrize("read", [gallery, recall])
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (everywhere(rle=b""), "a damaged mask of 90 x 120 pixels (Invalid RLE string: "),
        (once(rle=b"\xff"), "a damaged mask of 90 x 120 pixels (Invalid RLE string: "),
        (everywhere(height=-1), "an image without pixels"),
        (everywhere(width=0), "an image without pixels"),
        (everywhere(**LARGE), "an image of more than 150,000,000 pixels"),
        (once(height=91), "masks of several sizes for one image"),
        (once(kind="zzz\x1b"), r"the unknown kind 'zzz\x1b'"),
    ],
)
def test_masks_that_cannot_be_used(built, read, edit, said):
    change(built, edit)
    assert error_of(read, built).startswith(said)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (everywhere(granularity=float("nan")), "a granularity that is not from 0 to 1"),
        (once(scale=-1.0), "a scale that is not from 0 to 1"),
        (once(semantic=float("inf")), "a semantic that is not from 0 to 1"),
        (once(bbox={"x": 0, "y": 0, "w": 0, "h": 3}), "a mask whose box is not in its image"),
        (once(bbox={"x": 1, "y": 0, "w": 2**31 - 1, "h": 3}), "a mask whose box is not in its image"),
        (once(bbox={"x": -1, "y": 0, "w": 2, "h": 3}), "a mask whose box is not in its image"),
        (once(area=0), "an area of 0 pixels"),
        (everywhere(height=91), "masks of another size than image im_0"),
    ],
)
def test_rows_that_cannot_be_drawn(built, edit, said):
    change(built, edit)
    assert error_of(gallery, built) == said


def test_mask_without_pixels(built):
    change(built, everywhere(rle=encode(crop_mask(np.zeros((90, 120), bool), 90, 120))))
    said = "a damaged mask of 90 x 120 pixels (it has no pixel)"
    assert [error_of(read, built) for read in (gallery, recall)] == [said, said]


@pytest.mark.parametrize("definition", ["both", "scale"])
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (once(image_id="zzz"), "masks of image zzz, and no table of images has it"),
        (
            without(lambda row: row["kind"] == "object"),
            "masks of object 2 of image im_0, and not the object itself",
        ),
        (
            without(lambda row: row["kind"] == "object" and (row["image_id"], row["instance_id"]) == ("im_2", 9)),
            "masks of object 9 of image im_2, and not the object itself",
        ),
        (everywhere(area=0), "an area of 0 pixels"),
        (everywhere(area=-(2**62)), "an area of -4611686018427387904 pixels"),
        (once(kind="zzz"), "the unknown kind 'zzz'"),
    ],
)
def test_rows_that_cannot_be_drawn_from(built, edit, said, definition):
    change(built, edit)
    with pytest.raises(UserError) as error:
        finetune(built, definition)
    place = f"{built.url}/proposals" + ("" if "zzz, and" in said else "/part-00000.parquet")
    assert str(error.value) == f"{place} has {said}; {REPAIR}"


@pytest.mark.parametrize("edit", [without(lambda row: row["image_id"] == "im_1"), without(lambda _row: True)])
def test_images_that_the_database_lacks(built, edit):
    change(built, edit, "images/part-00000.parquet")
    lost = "im_1" if pq.read_table(io.BytesIO(built.read("images/part-00000.parquet"))).num_rows else "im_0"
    assert error_of(finetune, built) == f"masks of image {lost}, and no table of images has it"


@pytest.mark.parametrize("wrong", [{"kind": "zzz"}, {"bin": 11}, {"count": -1}])
def test_sampling_weights_that_cannot_be(built, toy_plan, wrong):
    finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    rows = pq.read_table(io.BytesIO(built.read(SAMPLING_FILE))).to_pylist()
    rows[0] |= wrong
    built.write(SAMPLING_FILE, parquet_bytes(pa.Table.from_pylist(rows, SAMPLING)))
    with pytest.raises(UserError) as error:
        finished_counts(open_proposals(built.url))
    row = rows[0]
    assert str(error.value).startswith(
        f"{built.url}/{SAMPLING_FILE} counts {row['count']} rows of kind '{row['kind']}' and bin {row['bin']}; run "
    )


def test_undamaged_rows_are_read(built):
    gallery(built)
    assert recall(built).by_size[0].proposals.parts == 6
    assert len(finetune(built)) == len(finetune(built, "scale")) == open_proposals(built.url).proposals().num_rows
    assert built.above().exists("gallery.html")
