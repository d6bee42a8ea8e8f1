"""``agg data``: look at data sets and check them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import cloup

from agg_pipeline.cli.option_groups import examples, gathered, option, options_of
from agg_pipeline.cli.options import Count, Data, check_root, complete_data_set, data_set
from agg_pipeline.cli.places import PLACE
from agg_pipeline.report.printed import say
from schemas.errors import UserError
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.datasets.dataset import Dataset
    from agg_pipeline.datasets.survey import Counts

UNKNOWN = "(unknown)"


@cloup.group("data")
def group() -> None:
    """Look at data sets and check them."""


@group.command("list", epilog=examples("agg data list", "agg data list | less"))
def list_command() -> None:
    """List the known data sets.

    Each is shown with its licence and citation, what to download and where to put it, and the splits that commands take
    if none is given.
    """
    from agg_pipeline.datasets.registry import DATASETS

    for name in sorted(DATASETS):
        known = DATASETS[name]
        about = known.about
        click.secho(f"{name}: {about.title} ({' and '.join(about.levels)} masks)", bold=True)
        lines = {
            "licence": about.licence,
            "citation": about.citation,
            "homepage": about.homepage,
            "download": about.download,
            "layout": ", ".join(about.layout) or "no files",
            "split": f"{known.default_split} for training, {known.evaluation_split} for evaluation",
        }
        for key, text in lines.items():
            say(click.wrap_text(text, 110, f"  {key:<10}", " " * 12))


DATASET = cloup.argument(
    "dataset", type=data_set, shell_complete=complete_data_set, metavar="DATASET", help="Name of the data set."
)
ROOT = cloup.argument(
    "data", metavar="[FOLDER]", type=PLACE, default="", help="Root folder of the data set; demo has none."
)
SPLIT = options_of(Data, "split", defaults={"split": "all splits that are there"})[0]


def _datasets(data: Data) -> tuple[list[Dataset], list[UserError]]:
    """The split that is asked for, or every split that is there, and why others cannot be listed."""
    from agg_pipeline.datasets.registry import known_dataset, root_of

    check_root(data.dataset, data.data)
    command = click.get_current_context().info_name
    root = root_of(data.dataset, data.data, f"agg data {command} {data.dataset} FOLDER")
    if data.split:
        return [data.open()], []
    known = known_dataset(data.dataset)
    found: list[Dataset] = []
    problems: list[UserError] = []
    for split in known.splits(root) or (known.default_split,):
        try:
            found.append(data.open(split))
        except UserError as error:
            problems.append(error)
    if not found:
        raise problems[0]
    return found, problems


@group.command(
    "inspect",
    epilog=examples("agg data inspect demo --split val", "agg data inspect pascal_part ~/VOC2010 --class dog"),
)
@DATASET
@ROOT
@cloup.option_group("Data set", SPLIT, *options_of(Data, "exclude_list", "classes", "skip_classes"))
@cloup.option_group(
    "Page",
    option(
        "--out",
        type=PLACE,
        metavar="FILE",
        show_default="runs/DATASET/data.html",
        help="HTML page that is written.",
    ),
    option(
        "--images",
        default=24,
        type=Count(0),
        metavar="IMAGES",
        help="Images per split on the page, drawn by the seed.",
    ),
    option("--seed", default=0, metavar="NUMBER", help="Seed of the choice of images."),
)
@gathered(data=Data)
def inspect_command(data: Data, out: str | None, images: int, seed: int) -> None:
    """Count masks and make a page of pictures.

    The counts are by split, level and class; the pictures show the outlines of the masks.
    """
    from agg_pipeline.datasets.selection import nothing_selected
    from agg_pipeline.datasets.survey import counted, survey
    from agg_pipeline.report.contact_sheet import write_contact_sheet
    from agg_pipeline.storage.store import Store

    found, problems = _datasets(data)
    for problem in problems:
        say(f"left out: {problem}", err=True)
    counts = {listed.split: counted(list(survey(listed))) for listed in found}
    if (data.classes or data.skip_classes) and not any(each.objects for each in counts.values()):
        raise nothing_selected(found[0])
    for note in _unmatched(data, found[0], counts):
        say(f"note: {note}", err=True)
    _print_counts(data.dataset, counts)
    page = out or f"runs/{data.dataset}/data.html"
    shown = write_contact_sheet(found, counts, *Store.of_file(page), images, seed)
    say(f"{page} shows {plural(shown, 'image')}")


def _unmatched(data: Data, dataset: Dataset, counts: dict[str, Counts]) -> Iterator[str]:
    """Chosen classes without any mask, one line per class. dataset: one of the splits."""
    from agg_pipeline.datasets.survey import counted, survey

    for name in dataset.selection.get("classes", ()):
        if not _has_class(counts.values(), name):
            yield f"--class {name} matches no mask"
    if data.skip_classes:
        all_of = replace(data, skip_classes=(), exclude_list="")
        whole = [counted(list(survey(all_of.open(data.split or split)))) for split in counts]
        for name in dataset.selection["skip_classes"]:
            if not _has_class(whole, name):
                yield f"--skip-class {name} matches no mask"


def _has_class(counts: Iterable[Counts], name: str) -> bool:
    """Whether a class of objects or of parts has a mask; classes of parts are counted in small letters."""
    return any(each.classes[name] or each.part_classes[name.lower()] for each in counts)


def _print_counts(dataset: str, counts: dict[str, Counts]) -> None:
    from agg_pipeline.report.terminal import print_rows

    columns = {
        "images": [str(each.images) for each in counts.values()],
        "broken": [str(each.unreadable or "") for each in counts.values()],
        "objects": [str(each.objects) for each in counts.values()],
        "parts": [str(each.parts or "") for each in counts.values()],
        "ignoring": [str(each.ignoring or "") for each in counts.values()],
        "per image": [_range(each.per_image) for each in counts.values()],
        "height": [_range(size[0] for size in each.sizes) for each in counts.values()],
        "width": [_range(size[1] for size in each.sizes) for each in counts.values()],
    }
    # What no split has needs no column.
    shown = {name: column for name, column in columns.items() if any(column)}
    head, rows = ("split", *shown), list(zip(counts, *shown.values(), strict=True))
    print_rows(f"{dataset}: images and masks", head, rows)
    for level, of in (("object", "classes"), ("part", "part_classes")):
        totals = {split: getattr(each, of) for split, each in counts.items()}
        names = sorted({name for each in totals.values() for name in each}, key=lambda name: name or "")
        if any(totals.values()):
            lines = [(name or UNKNOWN, *(str(each[name]) for each in totals.values())) for name in names]
            print_rows(f"{dataset}: {level} masks by class", ("class", *totals), lines)


def _range(values: Iterable[int]) -> str:
    known = list(values)
    return f"{min(known)}-{max(known)}" if known else "-"


@group.command("check", epilog=examples("agg data check demo --split val", "agg data check pascal_part ~/VOC2010"))
@DATASET
@ROOT
@SPLIT
def check_command(dataset: str, data: str, split: str | None) -> None:
    """Open every file and report what is wrong.

    The exit code is 1 if something is wrong.
    """
    from agg_pipeline.datasets.survey import check
    from agg_pipeline.report.terminal import print_findings
    from schemas.findings import Finding

    listed, problems = _datasets(Data(dataset, data, split, "", (), ()))
    # Splits may overlap: every image is read once, and a mask without one is reported once.
    seen: set[str] = set()
    findings = dict.fromkeys(Finding(dataset, str(problem)) for problem in problems)
    for each in listed:
        fresh = replace(each, entries=tuple(entry for entry in each.entries if entry.path not in seen))
        seen.update(entry.path for entry in fresh.entries)
        findings |= dict.fromkeys(check(fresh))
    splits = ", ".join(each.split for each in listed)
    print_findings(list(findings), f"{plural(len(seen), 'image')} of {dataset} ({splits}): all is as it should be")
    if findings:
        sys.exit(1)
