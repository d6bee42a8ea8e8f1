"""``agg database export`` and ``import``: databases in the formats of other programs, and back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cloup

from agg_pipeline.cli.contents import check_elsewhere, say_contents, warn_unfinished
from agg_pipeline.cli.option_groups import examples, gathered, given, option, options_of
from agg_pipeline.cli.options import TRAINING_SPLIT, Called, Choice, check_root, complete_data_set, data_set
from agg_pipeline.cli.places import PLACE, Place, named_roots
from agg_pipeline.report.printed import say
from schemas.errors import UserError

LOG = logging.getLogger(__name__)
LOCAL = Place(path_type=Path)
EXPORTS = ("coco", "sa1b", "released", "png", "webdataset", "hf")
IMPORTS = ("coco", "sa1b", "released")


@cloup.command(
    "export",
    epilog=examples(
        "agg database export runs/sbd --format coco --out sbd.json",
        "agg database export runs/sbd --format webdataset --data ~/SBD --out sbd-shards",
    ),
)
@cloup.argument("path", type=PLACE, help="Proposal database, or the output folder of a run.")
@option("--format", "kind", required=True, type=Choice(EXPORTS), help="Format of the other program.")
@option("--out", required=True, type=LOCAL, metavar="PLACE", help="New file (coco, released) or folder (the others).")
@option(
    "--polygons",
    is_flag=True,
    help="With coco: polygons instead of run lengths, for tools that cannot read run lengths.",
)
@option(
    "--data",
    "roots",
    type=PLACE,
    multiple=True,
    metavar="FOLDER",
    show_default="none",
    help="Root folder of the data set with the photographs: for webdataset, and for hf with --with-images. Repeat it "
    "as NAME:FOLDER, with the names of the data sets, if there are several.",
)
@option("--with-images", is_flag=True, help="With hf: put the photographs of --data into the column image.")
def export_command(path: str, kind: str, out: Path, polygons: bool, roots: tuple[str, ...], with_images: bool) -> None:
    """Write a database in the format of another program.

    coco is one instance file, sa1b a JSON file per image, released the pickle that the authors' training program
    reads, png indexed masks, webdataset tar shards, and hf a folder for datasets of Hugging Face. coco and sa1b can be
    imported again without loss. The last line says what the format cannot hold.
    """
    from agg_pipeline.database.exchange.exporting import export_database
    from agg_pipeline.database.reader import open_proposals

    _only(polygons, "--polygons", kind, ("coco",))
    _only(with_images, "--with-images", kind, ("hf",))
    _only(bool(roots), "--data", kind, ("webdataset", "hf"))
    if kind == "hf" and with_images != bool(roots):
        missing = "--with-images needs the photographs; give the root folder of the data set as --data FOLDER"
        alone = "--data is for the column image; to put the photographs into the export, give --with-images, too"
        raise UserError(missing if with_images else alone)
    database = open_proposals(path)
    check_elsewhere(str(out), [database])
    warn_unfinished([database])
    lost = export_database(database, kind, out, polygons, named_roots(roots))
    say(f"{out}: not in this format: {'; '.join(lost)}" if lost else f"{out}: nothing is lost")


def _only(given: bool, name: str, kind: str, kinds: tuple[str, ...]) -> None:
    if given and kind not in kinds:
        raise UserError(f"{name} has no effect with --format {kind}; it is for {' and '.join(kinds)}")


@dataclass(frozen=True)
class Origin:
    """Images of a file of another program, and the data set whose objects a pickle of the authors' program lacks."""

    dataset: str | None = given(
        "--dataset",
        type=data_set,
        shell_complete=complete_data_set,
        metavar="NAME",
        default=None,
        show_default="none",
        help="With released: data set that has the objects of the masks; the pickle has none.",
    )
    data: str = given(
        "--data",
        type=PLACE,
        default="",
        metavar="FOLDER",
        show_default="none",
        help="Folder of the images: with released, the root of the data set. With coco and sa1b of other programs, "
        "their sha256 is taken there, by which merge knows that two databases have the same image.",
    )
    split: str | None = given(
        "--split",
        type=PLACE,
        metavar="SPLIT",
        default=None,
        show_default=TRAINING_SPLIT,
        help="With released: split of that data set.",
    )


@cloup.command(
    "import",
    epilog=examples(
        "agg database import sbd.json --format coco --out runs/sbd",
        "agg database import proposals.pkl --format released --dataset sbd --data ~/SBD --out runs/authors",
    ),
)
@cloup.argument("path", type=LOCAL, help="File, or for sa1b the folder that contains the folder annotations.")
@option("--format", "kind", required=True, type=Choice(IMPORTS), help="Format of the file.")
@option("--out", required=True, type=PLACE, metavar="FOLDER", help="Folder of the new database.")
@cloup.option_group("Images", *options_of(Origin))
@cloup.option_group("What the card says", *options_of(Called))
@option("--overwrite", is_flag=True, help="Replace a database that is in the folder.")
@gathered(origin=Origin, called=Called)
def import_command(
    path: Path,
    kind: str,
    out: str,
    overwrite: bool,
    origin: Origin,
    called: Called,
) -> None:
    """Make a database from a file of another program.

    Masks of other programs become objects with granularity 1. What agg has exported as coco or sa1b becomes the same
    database again, with the same identity. Nothing in a pickle is run.
    """
    from agg_pipeline.datasets.registry import open_dataset

    naming = called.naming
    if kind == "released":
        from agg_pipeline.database.exchange.released_import import import_released

        if origin.dataset is None:
            raise UserError("the pickle has no objects; name the data set that it was made from, as --dataset NAME")
        check_root(origin.dataset, origin.data)
        dataset = open_dataset(origin.dataset, origin.data, origin.split, naming)
        say_contents(import_released(path, dataset, out, overwrite))
        return
    _only(bool(origin.dataset or origin.split), "--dataset or --split", kind, ("released",))
    if kind == "coco":
        from agg_pipeline.database.exchange.coco_import import import_coco

        made = import_coco(path, out, naming, overwrite, origin.data)
    else:
        from agg_pipeline.database.exchange.sa1b_exchange import import_sa1b

        made = import_sa1b(path, out, naming, overwrite, origin.data)
    say_contents(made)
