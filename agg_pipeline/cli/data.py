"""``agg data``: look at data sets and check them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace

import click

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import DATASETS, known_dataset, open_dataset, root_of
from agg_pipeline.datasets.selection import Selection, nothing_selected, select
from agg_pipeline.datasets.survey import Counts, check, counted, survey
from agg_pipeline.report.contact_sheet import write_contact_sheet
from agg_pipeline.report.terminal import print_findings, print_rows
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.findings import Finding

UNKNOWN = "(unknown)"


@click.group("data")
def group() -> None:
    """Look at data sets and check them."""


@group.command("list")
def list_command() -> None:
    """The sets that are known: their licence, citation, what to download and where to put it."""
    for name in sorted(DATASETS):
        about = DATASETS[name].about
        click.secho(f"{name}: {about.title} ({' and '.join(about.levels)} masks)", bold=True)
        lines = {
            "licence": about.licence,
            "citation": about.citation,
            "homepage": about.homepage,
            "download": about.download,
            "layout": ", ".join(about.layout) or "no files",
        }
        for key, text in lines.items():
            click.echo(click.wrap_text(text, 110, f"  {key:<10}", " " * 12))


def _datasets(name: str, root: str, split: str | None, selection: Selection) -> tuple[list[Dataset], list[UserError]]:
    """The split that is asked for, or every split that is there, and why others cannot be listed."""
    if split:
        return [select(open_dataset(name, root, split), selection)], []
    known = known_dataset(name)
    found: list[Dataset] = []
    problems: list[UserError] = []
    for each in known.splits(root_of(name, root)) or (known.default_split,):
        try:
            found.append(select(open_dataset(name, root, each), selection))
        except UserError as error:
            problems.append(error)
    if not found:
        raise problems[0]
    return found, problems


@group.command("inspect")
@click.argument("dataset", metavar="DATASET", type=click.Choice(sorted(DATASETS)))
@click.argument("root", default="")
@click.option("--split", help="Name of a split, or a list file. Default: all splits that are there.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    help="Only this class (name, or its place in the set's list from 0); may be repeated.",
)
@click.option("--skip-class", "skip_classes", multiple=True, help="Not this class; may be repeated.")
@click.option("--exclude-list", default="", help="File with ids of images to leave out, one in each line.")
@click.option("--out", help="HTML page with counts and pictures. Default: runs/DATASET/data.html.")
@click.option("--images", default=24, type=click.IntRange(min=0), help="Images of each split on the page.")
@click.option("--seed", default=0, help="Seed of their choice.")
def inspect_command(
    dataset: str,
    root: str,
    split: str | None,
    classes: tuple[str, ...],
    skip_classes: tuple[str, ...],
    exclude_list: str,
    out: str | None,
    images: int,
    seed: int,
) -> None:
    """Count what a data set holds, by split, level and class, and make a page of pictures with outlined masks."""
    found, problems = _datasets(dataset, root, split, Selection(exclude_list, classes, skip_classes))
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)
    counts = {listed.split: counted(list(survey(listed))) for listed in found}
    if (classes or skip_classes) and not any(each.objects for each in counts.values()):
        raise nothing_selected(found[0])
    _print_counts(dataset, counts)
    page = out or f"runs/{dataset}/data.html"
    shown = write_contact_sheet(found, counts, *Store.of_file(page), images, seed)
    click.echo(f"{page} shows {shown} images")


def _print_counts(dataset: str, counts: dict[str, Counts]) -> None:
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


@group.command("check")
@click.argument("dataset", metavar="DATASET", type=click.Choice(sorted(DATASETS)))
@click.argument("root", default="")
@click.option("--split", help="Name of a split, or a list file. Default: all splits that are there.")
def check_command(dataset: str, root: str, split: str | None) -> None:
    """Open every file of a data set's splits and look for what is wrong; exit code 1 if something is."""
    listed, problems = _datasets(dataset, root, split, Selection())
    # Splits may overlap: every image is read once, and a mask without one is told once.
    seen: set[str] = set()
    findings = dict.fromkeys(Finding(dataset, str(problem)) for problem in problems)
    for each in listed:
        fresh = replace(each, entries=tuple(entry for entry in each.entries if entry.path not in seen))
        seen.update(entry.path for entry in fresh.entries)
        findings |= dict.fromkeys(check(fresh))
    splits = ", ".join(each.split for each in listed)
    print_findings(list(findings), f"{len(seen)} images of {dataset} ({splits}) are as they should be")
    if findings:
        sys.exit(1)
