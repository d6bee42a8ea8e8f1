"""Options that several commands share, and their types."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agg_pipeline.cli.option_groups import given
from agg_pipeline.cli.places import FILE, LOCAL_FILE, PLACE
from schemas.errors import UserError
from schemas.fields import LARGEST
from schemas.words import excerpt, probably

if TYPE_CHECKING:
    from agg_pipeline.datasets.dataset import Dataset
    from agg_pipeline.datasets.naming import Naming
    from agg_pipeline.execution.run_options import RunOptions


class Choice(click.Choice[str]):
    """One of several words; an error says which one was probably meant, as click does for options."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """The error for a word that is not a choice, with the closest choice."""
        meant = probably(str(value), self.choices)
        return super().get_invalid_choice_message(value, ctx) + (f" Did you mean {meant!r}?" if meant else "")


class Count(click.IntRange):
    """A number of things, at least ``min``, that fits into what tables and arrays count with."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; BadParameter if it is too small or too large."""
        number = super().convert(value, param, ctx)
        if number > LARGEST:
            self.fail(f"{excerpt(str(number), 30)} is more than {LARGEST}", param, ctx)
        return number


DRY_RUN = "Print the configuration, what the run would do and about how long it would take; write nothing."
"""Help of --dry-run."""


def data_set(name: str) -> str:
    """The name of a data set, checked. The sets are imported only here, and when a name is completed."""
    from agg_pipeline.datasets.registry import known_dataset

    return known_dataset(name).about.name


def complete_data_set(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of data sets that begin like this, for the shell."""
    from agg_pipeline.datasets.registry import DATASETS

    return [name for name in sorted(DATASETS) if name.startswith(begun)]


def finite(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A number, or several, neither NaN nor infinite: a range of floats lets these pass."""
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, float) and not math.isfinite(each):
            raise click.BadParameter(f"{each} is not a finite number", param=parameter)
    return value


TRAINING_SPLIT = "the set's split for training, see agg data list"
OF_DATA = "what the data set says"
EVALUATION_SPLIT = "the set's split for evaluation, see agg data list"


@dataclass(frozen=True)
class Data:
    """A data set, its split, and what is taken of it."""

    dataset: str = given(
        "--dataset",
        type=data_set,
        shell_complete=complete_data_set,
        metavar="NAME",
        default="demo",
        help="Data set: demo, which is built in, or one that agg data list names.",
    )
    data: str = given(
        "--data",
        type=PLACE,
        metavar="FOLDER",
        default="",
        show_default="none; demo has no files",
        help="Root folder of the data set, or a URL that fsspec knows.",
    )
    split: str | None = given(
        "--split",
        type=PLACE,
        metavar="SPLIT",
        show_default=TRAINING_SPLIT,
        help="Name of a split, or a file that lists images, one id per line.",
    )
    exclude_list: str = given(
        "--exclude-list",
        type=FILE,
        default="",
        show_default="none",
        help="File with the ids of images to leave out, one per line. A warning names those that "
        "the split does not have.",
    )
    classes: tuple[str, ...] = given(
        "--class",
        multiple=True,
        metavar="CLASS",
        show_default="all classes",
        help="Take only this class: its name, or its number in the set's list of classes, from 0. A name of exactly "
        "these letters comes before a number. Can be repeated.",
    )
    skip_classes: tuple[str, ...] = given(
        "--skip-class",
        multiple=True,
        metavar="CLASS",
        show_default="none",
        help="Leave this class out: its name, or its number as in --class. Can be repeated.",
    )

    def open(self, split: str | None = None, naming: Naming | None = None) -> Dataset:
        """List the chosen images.

        Args:
            split: taken in the place of --split if it is given.
            naming: what the user says of the data.

        Raises:
            UserError: there is no such data set or split, or it cannot be read.
        """
        from agg_pipeline.datasets.naming import NOTHING_SAID
        from agg_pipeline.datasets.registry import open_dataset
        from agg_pipeline.datasets.selection import Selection, select

        check_root(self.dataset, self.data)
        listed = open_dataset(self.dataset, self.data, split or self.split, naming or NOTHING_SAID)
        return select(listed, Selection(self.exclude_list, self.classes, self.skip_classes))


@dataclass(frozen=True)
class Called:
    """What the card of a database says of its data."""

    name: str = given(
        "--name",
        default="",
        metavar="NAME",
        show_default=OF_DATA,
        help="Name of the data.",
    )
    licence: str = given(
        "--licence", default="", metavar="LICENCE", show_default=OF_DATA, help="Licence of images and annotations."
    )
    citation: str = given(
        "--citation", default="", metavar="WORK", show_default=OF_DATA, help="Publication to cite for the data."
    )
    homepage: str = given(
        "--homepage", default="", metavar="URL", show_default=OF_DATA, help="Address of the publisher of the data."
    )

    @property
    def naming(self) -> Naming:
        """The same, checked."""
        from agg_pipeline.datasets.naming import checked

        return checked(asdict(self), "--")


def check_root(name: str, root: str) -> None:
    """Refuse a root folder for a data set that is built in.

    Args:
        name: name of the data set.
        root: its root folder, "" for none.

    Raises:
        UserError: the set is built in and a root is given, or no set has the name.
    """
    from agg_pipeline.datasets.registry import known_dataset

    if root and known_dataset(name).built_in:
        raise UserError(f"data set {name} is built in and has no folder; leave {root} out, or name another data set")


@dataclass(frozen=True)
class Run:
    """Where a run over a data set goes, how much of it is done, and who does the work."""

    out: str = given(
        "--out", type=PLACE, metavar="FOLDER", required=True, help="Output folder, or a URL that fsspec knows."
    )
    config: Path | None = given(
        "--config",
        type=LOCAL_FILE,
        show_default="none",
        help="TOML file with configuration keys, as --dry-run prints them; docs/reference/configuration.md lists them.",
    )
    limit_images: int | None = given(
        "--limit-images",
        type=Count(1),
        metavar="IMAGES",
        show_default="all",
        help="Process only this many images, the first of the plan.",
    )
    workers: int | None = given(
        "--workers",
        type=Count(1),
        metavar="PROCESSES",
        show_default="one per CPU core; on GPUs, --workers-per-gpu for each",
        help="Number of worker processes on this machine, shared out among its GPUs if it has some.",
    )
    workers_per_gpu: int | None = given(
        "--workers-per-gpu",
        type=Count(1),
        metavar="PROCESSES",
        show_default="4; fewer if there are fewer CPU cores",
        help="Number of worker processes for each GPU of this machine.",
    )
    scheduler: str | None = given(
        "--scheduler",
        metavar="ADDRESS",
        show_default="none; --workers run on this machine",
        help="Address of an existing Dask cluster, tcp://host:port.",
    )
    max_reject_share: float = given(
        "--max-reject-share",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        default=0.01,
        callback=finite,
        help="Fail with exit code 2 if a larger share of the images, from 0 to 1, could not be used.",
    )
    overwrite: bool = given("--overwrite", is_flag=True, help="Delete another run's files in the folder first.")
    verify: bool = given(
        "--verify",
        is_flag=True,
        help="When resuming, compare the checksums of all finished files, not only their sizes.",
    )

    dry_run: bool = given("--dry-run", is_flag=True, help=DRY_RUN)

    @property
    def options(self) -> RunOptions:
        """What the run itself takes."""
        return self.into(self.out)

    def into(self, out: str, limit: bool = True) -> RunOptions:
        """The options of a run into another folder.

        Args:
            out: the folder.
            limit: whether --limit-images holds for the run.
        """
        from agg_pipeline.execution.run_options import RunOptions

        return RunOptions(
            out=out,
            limit_images=self.limit_images if limit else None,
            workers=self.workers,
            workers_per_gpu=self.workers_per_gpu,
            scheduler=self.scheduler,
            overwrite=self.overwrite,
            verify=self.verify,
        )
