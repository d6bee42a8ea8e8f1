"""``agg database pack``, ``unpack``, ``push`` and ``pull``: databases that leave the house."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cloup

from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.places import PLACE
from agg_pipeline.report.printed import say
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.database.publishing.transfer import Copied

OVERWRITE = option("--overwrite", is_flag=True, help="Delete another database that is there.")
VERIFY = option("--verify", is_flag=True, help="Read all files of the copy again and compare their checksums.")


@cloup.command(
    "pack",
    epilog=examples("agg database pack runs/demo demo.tar", "agg database pack runs/sbd s3://bucket/sbd-proposals.tar"),
)
@cloup.argument("path", type=PLACE, help="Proposal database, or the output folder of a run.")
@cloup.argument("file", type=PLACE, help="Tar file to write, or a URL that fsspec knows.")
@option("--overwrite", is_flag=True, help="Replace a file that agg database pack has written.")
def pack_command(path: str, file: str, overwrite: bool) -> None:
    """Write a database into one tar file.

    The same database gives the same bytes. A file of anything else is never replaced.
    """
    from agg_pipeline.database.publishing.packing import pack
    from agg_pipeline.database.reader import open_proposals

    database = open_proposals(path)
    pack(database, file, overwrite)
    say(f"{file}: {plural(len(database.sidecars), 'shard')}; agg database unpack writes them into a folder")


@cloup.command(
    "unpack",
    epilog=examples("agg database unpack demo.tar proposals", "agg database unpack s3://bucket/sbd-proposals.tar sbd"),
)
@cloup.argument("file", type=PLACE, help="Tar file written by agg database pack, or a URL that fsspec knows.")
@cloup.argument("path", type=PLACE, help="Folder of the new database.")
def unpack_command(file: str, path: str) -> None:
    """Write the database in a tar file into a new folder.

    Checksums are compared while the files are written. If something is wrong, no file is left behind.
    """
    from agg_pipeline.database.publishing.unpacking import unpack

    database = unpack(file, path)
    images = sum(sidecar["images"] for sidecar in database.sidecars.values())
    say(f"{path}: {plural(images, 'image')} in {plural(len(database.sidecars), 'shard')}")


@cloup.command(
    "push",
    epilog=examples(
        "agg database push runs/sbd s3://bucket/sbd-proposals",
        "agg database push runs/sbd hf://datasets/my-lab/sbd-proposals",
    ),
)
@cloup.argument("path", type=PLACE, help="Proposal database, or the output folder of a run.")
@cloup.argument("url", type=PLACE, help="Folder of the copy, or a URL that fsspec knows.")
@VERIFY
@OVERWRITE
def push_command(path: str, url: str, verify: bool, overwrite: bool) -> None:
    """Copy a database to another place, such as a bucket.

    Only files that are missing are copied: after an interruption, run the same command again to resume. The copy has
    no plan until all its shards are there, so a partial copy is never mistaken for a database.
    """
    _copy(path, url, verify, overwrite)


@cloup.command(
    "pull",
    epilog=examples(
        "agg database pull s3://bucket/sbd-proposals sbd", "agg database pull hf://datasets/my-lab/sbd-proposals sbd"
    ),
)
@cloup.argument("url", type=PLACE, help="Proposal database, at a URL that fsspec knows.")
@cloup.argument("path", type=PLACE, help="Folder of the copy.")
@VERIFY
@OVERWRITE
def pull_command(url: str, path: str, verify: bool, overwrite: bool) -> None:
    """Copy a database from another place.

    Every file is compared with its checksum. Only files that are missing are copied: after an interruption, run the
    same command again to resume.
    """
    _copy(url, path, verify, overwrite)


def _copy(source: str, to: str, verify: bool, overwrite: bool) -> None:
    from agg_pipeline.database.publishing.transfer import transfer
    from agg_pipeline.database.reader import open_proposals

    say(_said(transfer(open_proposals(source), to, overwrite, verify), to))


def _said(copied: Copied, to: str) -> str:
    megabytes = copied.size / 1e6
    return f"{to}: {plural(copied.files, 'file')} copied ({megabytes:.1f} MB), {copied.present} were there"


COMMANDS = (pack_command, unpack_command, push_command, pull_command)
