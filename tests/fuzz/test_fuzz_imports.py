"""Files for ``agg database import`` of any content: a database that is valid, or one line and nothing left."""

import json
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.database.exchange.coco_import import import_coco
from agg_pipeline.database.exchange.exporting import export_database
from agg_pipeline.database.exchange.released_import import import_released
from agg_pipeline.database.exchange.sa1b_exchange import import_sa1b
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.selecting import filter_database
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.naming import NOTHING_SAID
from tests.fuzz.mutations import fuzzed_in_every_way, mutated_bytes, mutated_json, outcome
from tests.toy_run import make_database, make_dataset

FOREIGN = {
    "images": [{"id": 3, "file_name": "a/b.jpg", "height": 4, "width": 6, "license": 5}],
    "annotations": [
        {"id": 9, "image_id": 3, "category_id": 1, "iscrowd": 0, "area": 6, "bbox": [0, 0, 3, 2], "score": 0.5}
        | {"segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]]},
        {
            "id": 7,
            "image_id": 3,
            "category_id": 2,
            "iscrowd": 1,
            "segmentation": {"size": [4, 6], "counts": [3, 2, 19]},
        },
    ],
    "categories": [{"id": 1, "name": "cat"}],
    "licenses": [{"id": 5, "name": "CC0"}],
}
"""An instance file of another program."""
IMAGE = "im_0"


@cache
def exported():
    """One image of the toy database in every format that is imported, as bytes."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-imports-"))
    whole = open_proposals(make_database(folder / "database").url)
    small = filter_database(whole, str(folder / "small"), images=[IMAGE])
    for kind in ("coco", "sa1b", "released"):
        export_database(small, kind, folder / kind)
    (of_image,) = (folder / "sa1b/annotations").iterdir()
    return {
        "coco": (folder / "coco").read_bytes(),
        "sa1b image": of_image.read_bytes(),
        "sa1b database": (folder / "sa1b/agg.json").read_bytes(),
        "released": (folder / "released").read_bytes(),
    }


def made(write, read):
    """Import a file into an empty folder: "ok" if the database is valid, or the name of the error.

    Args:
        write: writes the file, or the files, below a folder.
        read: makes a database from them; takes the folder and the place of the database.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-imports-") as name:
        folder = Path(name)
        write(folder)
        before = {path.relative_to(folder) for path in folder.rglob("*")}
        out = folder / "out"
        end = outcome(lambda: read(folder, str(out)))
        if end == "ok":
            assert list(validate(open_proposals(str(out)))) == []
        else:
            files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
            assert files <= before, "files were left"
        assert {path.name for path in folder.iterdir()} <= {"x", "out"}
        return end


def variants(content):
    """Variants of a JSON document."""
    changed = mutated_json(json.loads(content)).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(changed, mutated_bytes(content))


def import_of_coco(content):
    return made(
        lambda folder: (folder / "x").write_bytes(content),
        lambda folder, out: import_coco(folder / "x", out, NOTHING_SAID),
    )


@fuzzed_in_every_way
@given(st.data())
def test_coco_that_was_exported(data):
    assert import_of_coco(data.draw(variants(exported()["coco"]))) in ("ok", "UserError")


@fuzzed_in_every_way
@given(variants(json.dumps(FOREIGN).encode()))
def test_coco_of_another_program(content):
    assert import_of_coco(content) in ("ok", "UserError")


@fuzzed_in_every_way
@given(st.data())
def test_sa1b(data):
    which = data.draw(st.sampled_from(("sa1b image", "sa1b database")))
    content = exported() | {which: data.draw(variants(exported()[which]))}
    own = data.draw(st.booleans())

    def write(folder):
        (folder / "x/annotations").mkdir(parents=True)
        (folder / f"x/annotations/{IMAGE}.json").write_bytes(content["sa1b image"])
        if own:
            (folder / "x/agg.json").write_bytes(content["sa1b database"])

    assert made(write, lambda folder, out: import_sa1b(folder / "x", out, NOTHING_SAID)) in ("ok", "UserError")


@fuzzed_in_every_way
@given(st.data())
def test_released(data):
    content = data.draw(mutated_bytes(exported()["released"]))
    end = made(
        lambda folder: (folder / "x").write_bytes(content),
        lambda folder, out: import_released(folder / "x", make_dataset(), out),
    )
    assert end in ("ok", "UserError")
