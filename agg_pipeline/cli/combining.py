"""``agg database``: commands that make a database from others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click
import cloup

from agg_pipeline.cli.contents import check_elsewhere, say_contents, warn_unfinished
from agg_pipeline.cli.option_groups import examples, gathered, option, options_of
from agg_pipeline.cli.options import Called, Choice, Count
from agg_pipeline.cli.places import PLACE
from schemas.errors import UserError
from schemas.words import excerpt

if TYPE_CHECKING:
    from agg_pipeline.database.reader import ProposalDatabase

LOG = logging.getLogger(__name__)
DATABASE = cloup.argument("path", type=PLACE, help="Proposal database, or the output folder of a run.")
OUT = option("--out", required=True, type=PLACE, metavar="FOLDER", help="Folder of the new database.")
OVERWRITE = option("--overwrite", is_flag=True, help="Replace a database that is in the folder.")
SEED = option("--seed", default=0, metavar="NUMBER", help="Seed of the draw.")


@cloup.command(
    "merge",
    epilog=examples(
        "agg database merge runs/lab-a runs/lab-b --out runs/both",
        "agg database merge runs/sbd runs/coco --conflicts rename --out runs/all",
    ),
)
@cloup.argument("paths", nargs=-1, required=True, type=PLACE, help="Proposal databases, or output folders of runs.")
@OUT
@option(
    "--duplicates",
    type=Choice(["drop", "keep"]),
    default="drop",
    help="Drop masks of an object that repeat one of an earlier database (IoU above 0.95), or keep them.",
)
@option(
    "--conflicts",
    type=Choice(["refuse", "rename"]),
    default="refuse",
    help="Refuse images with the same id but different content, or rename those of later databases.",
)
@OVERWRITE
def merge_command(paths: tuple[str, ...], out: str, duplicates: Any, conflicts: Any, overwrite: bool) -> None:
    """Put several databases into a new one.

    An image is the same if its file has the same sha256, an object of it if the masks have an IoU above 0.98. Masks of
    such an object are measured by the one that stays. Every row says in the column source which run has made it.
    """
    from agg_pipeline.database.licences import licence_notes, licences_of
    from agg_pipeline.database.merging import merge

    databases = _opened(paths, out)
    merged = merge(databases, out, duplicates, conflicts, overwrite=overwrite)
    for note in licence_notes(licences_of(merged)):
        LOG.warning(note)
    say_contents(merged)


@cloup.command(
    "filter",
    epilog=examples(
        "agg database filter runs/sbd --where \"kind = 'part' and granularity < 0.4 and area > 500\" --out runs/fine",
        "agg database filter runs/sbd --sample 100 --out runs/some",
    ),
)
@DATABASE
@option(
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    show_default="all masks",
    help="Condition in SQL over the columns of proposals. The objects and parts that contain a mask are kept with it. "
    "Can be repeated; all must hold.",
)
@option(
    "--images",
    "lists",
    multiple=True,
    type=PLACE,
    metavar="FILE",
    show_default="all",
    help="List of the images to use, one id per line. Can be repeated; an image must be in all lists.",
)
@option("--sample", type=Count(1), metavar="IMAGES", show_default="all", help="Draw this many of these images.")
@option(
    "--exclude",
    "excluded",
    multiple=True,
    type=PLACE,
    metavar="FILE",
    show_default="none",
    help="List of masks to leave out, one id per line, such as agg view exports; those inside of them go, "
    "too. Can be repeated.",
)
@SEED
@OUT
@OVERWRITE
def filter_command(
    path: str,
    conditions: tuple[str, ...],
    lists: tuple[str, ...],
    sample: int | None,
    excluded: tuple[str, ...],
    seed: int,
    out: str,
    overwrite: bool,
) -> None:
    """Keep some masks or images of a database in a new one."""
    from agg_pipeline.database.selecting import filter_database
    from agg_pipeline.datasets.file_listing import read_list

    if not conditions and not lists and not excluded and sample is None:
        raise UserError("nothing is chosen; give --where, --images, --exclude or --sample")
    (database,) = _opened((path,), out)
    listed = [read_list(each) for each in lists]
    images = sorted(set(listed[0]).intersection(*listed[1:])) if listed else None
    where = conditions[0] if len(conditions) == 1 else " and ".join(f"({each}\n)" for each in conditions) or None
    exclude = sorted({mask for each in excluded for mask in read_list(each)})
    say_contents(filter_database(database, out, where, images, sample, seed, overwrite, exclude))


@cloup.command(
    "split",
    epilog=examples(
        "agg database split runs/sbd --shares 0.9,0.1 --out runs/sbd-parts",
        "agg database split runs/sbd --list train.txt --list val.txt --out runs/sbd-parts",
    ),
)
@DATABASE
@option(
    "--by",
    type=Choice(["image"]),
    default="image",
    expose_value=False,
    help="Unit that stays whole: no image is in two parts.",
)
@option(
    "--shares",
    metavar="SHARES",
    show_default="none; lists are used",
    help="Shares of the images, such as 0.9,0.1. The seed decides which images each part gets.",
)
@option(
    "--list",
    "lists",
    multiple=True,
    type=PLACE,
    metavar="FILE",
    show_default="none",
    help="List of the images of a part; repeat the option for every part.",
)
@SEED
@option("--out", required=True, type=PLACE, metavar="FOLDER", help="Folder of the new databases, part-1, part-2, ...")
@OVERWRITE
def split_command(path: str, shares: str | None, lists: tuple[str, ...], seed: int, out: str, overwrite: bool) -> None:
    """Split a database into several, each with some of its images."""
    from agg_pipeline.database.selecting import shares_of_images, split_database
    from agg_pipeline.datasets.file_listing import read_list

    if (shares is None) == (not lists):
        raise UserError("give either --shares or --list")
    (database,) = _opened((path,), out)
    if shares is None:
        parts = [read_list(each) for each in lists]
    else:
        parts = shares_of_images(database, _numbers(shares), seed)
    outs = [f"{out.rstrip('/')}/part-{number}" for number in range(1, len(parts) + 1)]
    for part in split_database(database, outs, parts, overwrite):
        say_contents(part)


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise UserError(
            f"--shares {excerpt(text)!r} are not numbers with commas between them, such as 0.9,0.1"
        ) from None


@cloup.command(
    "reshard",
    epilog=examples(
        "agg database reshard runs/sbd --images-per-shard 200 --out runs/large",
        "agg database reshard runs/sbd/database --images-per-shard 10 --out runs/small",
    ),
)
@DATABASE
@option("--images-per-shard", required=True, type=Count(1), metavar="IMAGES", help="Images of each shard.")
@OUT
@OVERWRITE
def reshard_command(path: str, images_per_shard: int, out: str, overwrite: bool) -> None:
    """Write the same rows into other shards.

    The identity stays the same.
    """
    from agg_pipeline.database.selecting import reshard

    (database,) = _opened((path,), out)
    say_contents(reshard(database, out, images_per_shard, overwrite))


@cloup.command(
    "recompute",
    epilog=examples(
        "agg database recompute runs/sbd --lambda 0.3 --out runs/sbd-03",
        "agg database recompute runs/sbd --definition scale --out runs/sbd-scale",
    ),
)
@DATABASE
@option(
    "--lambda",
    "weight",
    type=click.FloatRange(0, 1),
    metavar="WEIGHT",
    show_default="none",
    help="Weight of the semantic granularity in the granularity, lambda of Eq. 6.",
)
@option(
    "--definition",
    type=Choice(["scale", "semantic"]),
    show_default="none",
    help="Use the scale alone (lambda 0) or the semantic granularity alone (lambda 1).",
)
@OUT
@OVERWRITE
def recompute_command(path: str, weight: float | None, definition: str | None, out: str, overwrite: bool) -> None:
    """Recompute the granularities with another lambda.

    They are computed from the stored peaks (Eq. 4 to 6); the model is not needed.
    """
    from agg_pipeline.database.recomputing import recompute

    if (weight is None) == (definition is None):
        raise UserError("give either --lambda or --definition")
    (database,) = _opened((path,), out)
    wanted = {"scale": 0.0, "semantic": 1.0}[definition] if definition else float(weight or 0.0)
    say_contents(recompute(database, out, wanted, overwrite))


@cloup.command(
    "describe",
    epilog=examples(
        "agg database describe runs/mine --name 'Street photographs' --licence 'CC BY 4.0' --out runs/named",
        "agg database describe runs/all --source 1 --citation 'Lee et al., ICCV 2025' --out runs/cited",
    ),
)
@DATABASE
@cloup.option_group("What the card says", *options_of(Called))
@option(
    "--source",
    "number",
    type=Count(0),
    metavar="RUN",
    show_default="the only one",
    help="Number of the run whose data to change, as agg database log prints it.",
)
@OUT
@OVERWRITE
@gathered(called=Called)
def describe_command(path: str, number: int | None, out: str, overwrite: bool, called: Called) -> None:
    """Change the name, licence or citation of the data.

    The masks stay the same. The identity changes, because it covers what the plan says of the data.
    """
    from agg_pipeline.database.describing import describe
    from agg_pipeline.datasets.naming import NOTHING_SAID

    naming = called.naming
    if naming == NOTHING_SAID:
        raise UserError("nothing is said; give --name, --licence, --citation or --homepage")
    (database,) = _opened((path,), out)
    say_contents(describe(database, out, naming, number, overwrite))


def _opened(paths: tuple[str, ...], out: str) -> list[ProposalDatabase]:
    """The databases that a new one is made from, which must lie elsewhere."""
    from agg_pipeline.database.reader import open_proposals

    databases = [open_proposals(path) for path in paths]
    check_elsewhere(out, databases)
    warn_unfinished(databases)
    return databases


COMBINING = (merge_command, filter_command, split_command, reshard_command, recompute_command, describe_command)
"""The commands, in the order of the help."""
