"""``agg eval compare``: results beside each other, with paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.evaluation.mask_results import iou_after
from agg_pipeline.evaluation.published import published
from agg_pipeline.evaluation.results_folder import Results
from agg_pipeline.evaluation.summary import iou_name, levels_of
from agg_pipeline.report.text_table import FEWEST_IMAGES, Table, mean_cell
from schemas.errors import UserError
from schemas.words import excerpt, plural
from stages.evaluate import noc
from stages.metrics import bootstrap_means, control

Floats = NDArray[np.float64]


def _lacking(of: Results, results: Sequence[Results]) -> str:
    """Names of the results that lack a mask of others."""
    masks = {mask.target_id for mask in of.masks}
    return " and ".join(each.name for each in results if not masks <= {mask.target_id for mask in each.masks})


def same_masks(results: Sequence[Results], intersect: bool) -> list[Results]:
    """Bring results to the same masks in the same order.

    Args:
        results: results of one data set; the first gives the order.
        intersect: whether masks that some results lack are left out.

    Returns:
        The results with the masks that all have.

    Raises:
        UserError: the results are not of the same masks and ``intersect`` is off, or cannot be compared at all.
    """
    first = results[0]
    common = set.intersection(*({mask.target_id for mask in each.masks} for each in results))
    for other in results:
        if other.settings.max_clicks != first.settings.max_clicks:
            raise UserError(
                f"{first.name} and {other.name} cannot be compared, because their interactions have at most "
                f"{plural(first.settings.max_clicks, 'click')} and {plural(other.settings.max_clicks, 'click')}; "
                "evaluate both with the same --max-clicks"
            )
        extra = len(other.masks) - len(common)
        if extra and not intersect:
            raise UserError(
                f"the results are not of the same masks ({extra} of {plural(len(other.masks), 'mask')} of {other.name} "
                f"are missing in {_lacking(other, results)}); use --intersect to compare the masks that all have"
            )
        changed = [one for one in sorted(common) if other.facts[one] != first.facts[one]]
        if changed:
            raise UserError(
                f"mask {excerpt(changed[0])} or its image differs between {first.name} and {other.name}; evaluate both "
                "on the same data"
            )
    if not common:
        raise UserError("the results have no mask in common; name results of the same data set and split")
    order = {mask.target_id: number for number, mask in enumerate(first.masks)}
    return [
        replace(
            each,
            masks=tuple(sorted((m for m in each.masks if m.target_id in common), key=lambda m: order[m.target_id])),
        )
        for each in results
    ]


def row_names(paths: Sequence[str]) -> list[str]:
    """Short names for folders of results: what tells their paths apart.

    Parts at the end that all paths share are left out, and as few parts as possible are left before them:
    "runs/a/eval" and "runs/b/eval" become "a" and "b".
    """
    parts = [path.rstrip("/").split("/") for path in paths]
    if len(parts) > 1:
        while min(map(len, parts)) > 1 and len({each[-1] for each in parts}) == 1:
            parts = [each[:-1] for each in parts]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return names


def comparison(results: Sequence[Results], with_published: bool) -> list[Table]:
    """A table for each level: every result, the differences from the first with paired intervals, published rows.

    Columns: NoC, IoU@1, Spearman's correlation if all have one, and masks not reached before the last click.

    Args:
        results: over the same masks (``same_masks``); their names are those of the rows.
        with_published: whether the paper's rows are among them.
    """
    return [_level(level, own, with_published) for level, own in _by_level(results)]


def without_published(results: Sequence[Results]) -> list[str]:
    """A line for each level that the paper has no number of."""
    return [
        f"the paper has no numbers for {level}s of {excerpt(own[0].dataset)}: --with-published adds nothing there"
        for level, own in _by_level(results)
        if not published_rows(own[0].dataset, level, [*map(iou_name, _noc_at(own)), "IoU@1"], 0)
    ]


def _by_level(results: Sequence[Results]) -> list[tuple[str, list[Results]]]:
    """Each level, and the results over its masks."""
    return [
        (level, [replace(each, masks=tuple(mask for mask in each.masks if mask.level == level)) for each in results])
        for level in levels_of(results[0].masks)
    ]


def _noc_at(results: Sequence[Results]) -> list[float]:
    """The IoUs of which all results know the number of clicks."""
    return [
        iou
        for iou in results[0].settings.noc_at(results[0].masks)
        if all(iou in each.settings.noc_at(each.masks) for each in results)
    ]


def _level(level: str, results: Sequence[Results], with_published: bool) -> Table:
    at = _noc_at(results)
    controlled = all(each.settings.mode in ("optimal", "curves") for each in results)
    head = [*(f"NoC@{100 * iou:g}" for iou in at), "IoU@1", *(["Spearman"] if controlled else [])]
    images = [mask.image_id for mask in results[0].masks]
    seed = results[0].settings.seed
    values = [_values(each, at, controlled) for each in results]
    # How many masks of the highest IoU are at the limit: what of a mean is not a number of clicks.
    limit = results[0].settings.max_clicks
    unreached = [[int((columns[:, n] == limit).sum()) for n in range(len(at))][-1:] for columns in values]
    rows = [
        (each.name, *_cells(columns, images, seed, head, ""), *map(str, counts))
        for each, columns, counts in zip(results, values, unreached, strict=True)
    ]
    rules = []
    if len(results) > 1:
        rules.append(len(rows))
        rows += [
            (
                f"{each.name} - {results[0].name}",
                *_cells(columns - values[0], images, seed, head, "+"),
                *(f"{count - first:+d}" for count, first in zip(counts, unreached[0], strict=True)),
            )
            for each, columns, counts in zip(results[1:], values[1:], unreached[1:], strict=True)
        ]
    head += [f">={limit}@{100 * iou:g}" for iou in at[-1:]]
    of_others = published_rows(results[0].dataset, level, [*map(iou_name, at), "IoU@1"], len(head))
    if with_published and of_others:
        rules.append(len(rows))
        rows += of_others
    counts_of = f"{plural(len(images), 'mask')} of {plural(len(set(images)), 'image')}"
    shown = "mean [95 % interval]" if len(set(images)) >= FEWEST_IMAGES else "means"
    title = f"{level}s of {excerpt(results[0].dataset)}, {counts_of}; {shown}"
    return Table(title, ("", *head), tuple(rows), frozenset(rules))


def published_rows(dataset: str, level: str, metrics: Sequence[str], width: int) -> list[tuple[str, ...]]:
    """Rows with the paper's numbers, marked as published.

    Args:
        dataset: name of the data set.
        level: "object" or "part".
        metrics: names of the metrics, such as "NoC@90", in the order of the columns.
        width: number of columns after the label; those after the metrics get "-".

    Returns:
        Label and cells of each row, "-" where the paper has no number; no row if it has none for the set and level.
    """
    of_level, found = published(dataset)
    if of_level != level:
        return []
    rows = []
    for each in found:
        numbers = [each.values.get(metric, "-") for metric in metrics]
        if all(number == "-" for number in numbers):
            continue
        numbers += ["-"] * (width - len(numbers))
        rows.append((f"published, Table {each.table}: {each.method}, {each.backbone}", *numbers))
    return rows


def _values(results: Results, at: Sequence[float], controlled: bool) -> Floats:
    rows = []
    for mask in results.masks:
        ious = mask.chosen.ious
        row = [*(float(noc(ious, iou, results.settings.max_clicks)) for iou in at), iou_after(mask.chosen, 1)]
        if controlled:
            row.append(control([each.areas[0] for each in mask.interactions]).spearman)
        rows.append(row)
    return np.array(rows)


def _cells(values: Floats, images: Sequence[str], seed: int, head: Sequence[str], sign: str) -> list[str]:
    """The means of the columns of values, (masks, columns); clicks with two digits, shares with three."""
    cells, number = [], len(set(images))
    for name, each in zip(head, bootstrap_means(values, images, seed), strict=True):
        form = f"{sign}.{2 if name.startswith('NoC') else 3}f"
        # The title says of how few images the means are.
        few = number < FEWEST_IMAGES
        cells.append(f"{each.mean:{form}}" if few else mean_cell(each.mean, each.low, each.high, number, form))
    return cells
