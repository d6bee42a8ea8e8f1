"""The report of a study: Markdown with two figures, from the results of its steps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import quote

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.parts import open_parts
from agg_pipeline.evaluation.compare import comparison, same_masks
from agg_pipeline.evaluation.mask_results import MaskResult
from agg_pipeline.evaluation.results_folder import SUMMARY, Results, open_results
from agg_pipeline.evaluation.summary import figures
from agg_pipeline.proposals.recall import THRESHOLDS, part_recall
from agg_pipeline.report.plots import new_figure, png
from agg_pipeline.report.text_table import Table, markdown
from agg_pipeline.storage.local_file import cannot_write, replace_file
from agg_pipeline.storage.store import Store
from agg_pipeline.study.run import begun_steps
from agg_pipeline.study.step_results import training_plan
from agg_pipeline.study.study_config import PAPER, SOURCES, StudyConfig
from agg_pipeline.study.study_steps import has_table, trained_name, trainings
from agg_pipeline.training.training_folder import STEPS
from agg_pipeline.training.training_log import read_log
from schemas.canonical import Json, flatten
from schemas.errors import StorageError, UserError
from schemas.numbers import GRANULARITIES
from schemas.tables import LEVELS
from schemas.words import plural, printable_lines

ABLATIONS = ("no table", "no LoRA", "neither", PAPER)
INTRODUCTION = """# A study on small sets

Written by `agg study` (`make study`). A click model is fine-tuned on several sources of masks and evaluated on masks of
each data set that the seed draws. Data sets are named by their layout; the last section says which folders they were.
Interactions follow the evaluator's protocol, without the mirrored image. Where nothing else is said, each mask has its
best granularity by the ground truth: the one with the fewest clicks to IoU 0.90 (objects) or 0.85 (parts), then the
best first click. `>=20@90` counts the masks that need the last click or are not reached, which count as if they needed
it. Numbers are means with 95 % intervals over images. Rows with a minus are differences over the same masks. Model,
data and training are far smaller than the paper's.
"""
DEFINITIONS = {"AGG": "scale and semantic", "scale alone": "scale alone"}


def write_study(config: StudyConfig, roots: Mapping[str, str], out: Path, report: Path) -> None:
    """Write the report and its figures.

    Args:
        config: the study's configuration.
        roots: root folders of its data sets, by name.
        out: its output folder.
        report: the Markdown file; figures go into a folder of its name without the ending.

    Raises:
        UserError: results of a step are damaged.
        StorageError: a file cannot be read or written now.
    """
    pictures = report.with_suffix("")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(pictures, error) from error
    try:
        text = _report(config, roots, out, pictures)
    except StorageError:
        raise
    except UserError as error:
        raise UserError(f"{error}; in a study, delete the folder that it is in, and run agg study again") from error
    # Names of files need not be UTF-8.
    replace_file(report, f"{printable_lines(text).rstrip()}\n".encode())


def _report(config: StudyConfig, roots: Mapping[str, str], out: Path, pictures: Path) -> str:
    """The text of the report. Its figures are written into a folder."""
    found = _Results(config, out)
    lines = ["## Sources of masks (Table 1)", "", *_sources(found)]
    lines += ["## Ablation (Table 3)", "", *_ablation(found)]
    lines += ["## Granularity and IoU (Fig. 4)", "", *_curves(found, pictures)]
    lines += ["## The best granularity (Fig. 6)", "", *_chosen(found, pictures)]
    lines += ["## Controllability", "", *_control(found)]
    lines += ["## Parts among the proposals", "", *_recall(config, roots, out)]
    if config.seeds > 1:
        lines += ["## Seeds", "", *_seeds(found)]
    lines += ["## What it was made of, and what it cost", "", *_cost(config, roots, out)]
    return "\n".join([INTRODUCTION, _left_out(found), *lines])


def _left_out(found: _Results) -> str:
    """What has become of the images that the recipe leaves out."""
    unknown = sorted(set(found.config.leave_out) - found.left_out)
    lines = [f"Left out, as the recipe says: {', '.join(sorted(found.left_out))}.\n"] if found.left_out else []
    if unknown:
        lines.append(f"To be left out, as the recipe says, but of no evaluated image: {', '.join(unknown)}.\n")
    return "\n".join(lines)


class _Results:
    """The results of a study by data set, training and mode."""

    def __init__(self, config: StudyConfig, out: Path) -> None:
        self.config = config
        self.left_out: set[str] = set()
        self._out = out / "evaluated"

    def _open(self, name: str, training: str, mode: str, level: str) -> Results | None:
        """The results over the masks of a level, without the images that are left out; None if there are none."""
        path = self._out / name / training / mode
        if not Store(str(path)).exists(SUMMARY):
            return None
        results = open_results(str(path))
        self.left_out |= {mask.image_id for mask in results.masks} & set(self.config.leave_out)
        return replace(results, masks=tuple(mask for mask in results.masks if self._counts(mask, level)))

    def _counts(self, mask: MaskResult, level: str) -> bool:
        return mask.level == level and mask.image_id not in self.config.leave_out

    def summary(self, name: str, training: str, mode: str, level: str) -> Json | None:
        """Figures over all masks of a level.

        Args:
            name: name of the data set.
            training: name of the trained model.
            mode: kind of evaluation, the name of its folder.
            level: ``object`` or ``part``.

        Returns:
            The figures; None if there are no results.
        """
        results = self._open(name, training, mode, level)
        return figures(results.masks, results.settings) if results is not None and results.masks else None

    def compared(self, name: str, level: str, rows: Sequence[tuple[str, str, str]]) -> list[Table]:
        """Compare evaluations of one data set.

        Args:
            name: name of the data set.
            level: ``object`` or ``part``.
            rows: title of the row, name of the trained model and kind of evaluation, per row.

        Returns:
            One table, with a row per evaluation that has results; none for fewer than two rows.
        """
        chosen = []
        for title, training, mode in rows:
            results = self._open(name, training, mode, level)
            if results is not None and results.masks:
                chosen.append(replace(results, name=title))
        return comparison(same_masks(chosen, intersect=False), with_published=False) if len(chosen) > 1 else []

    def each(self) -> Iterator[tuple[str, str]]:
        """Every data set with every level."""
        for name in self.config.sets:
            for level in LEVELS:
                yield name, level


def _sources(found: _Results) -> list[str]:
    first = trained_name(found.config.variants[0])
    tables: list[Table] = []
    for name, level in found.each():
        rows = [("base", first, "base"), ("base, best of 10 first clicks", first, "best-of-10")]
        rows += [(f"fine-tuned on {variant}", trained_name(variant), "optimal") for variant in SOURCES]
        if level == "object":
            rows += [(f"{variant}, granularity 1.0", trained_name(variant), "whole") for variant in SOURCES]
        rows += [
            (f"{variant}, one granularity for each class", trained_name(variant), "by-class") for variant in SOURCES
        ]
        tables += found.compared(name, level, rows)
    return [markdown(tables)]


def _ablation(found: _Results) -> list[str]:
    first = found.config.variants[0]
    tables: list[Table] = []
    for name, level in found.each():
        rows = [("table and LoRA", trained_name(first), "optimal")]
        rows += [(variant, trained_name(variant), "optimal" if has_table(variant) else "none") for variant in ABLATIONS]
        tables += found.compared(name, level, rows)
    return [markdown(tables)] if tables else ["(not part of this study)", ""]


def _curves(found: _Results, pictures: Path) -> list[str]:
    first = trained_name(found.config.variants[0])
    figure = new_figure(7, 4)
    axes = figure.subplots()
    rows = []
    for name, level in found.each():
        summary = found.summary(name, first, "curves-of-masks", level)
        if summary is None:
            continue
        for k, values in summary["granularity"]["iou"].items():
            rows.append((f"{name}, {level}s ({summary['masks']})", k, *(f"{value:.3f}" for value in values)))
        values = summary["granularity"]["iou"]["1"]
        (line,) = axes.plot(GRANULARITIES, values, marker=".", label=f"{name}, {level}s")
        best = max(range(len(values)), key=values.__getitem__)
        axes.plot(GRANULARITIES[best], values[best], marker="*", markersize=14, color=line.get_color())
    axes.set_xlabel("granularity")
    axes.set_ylabel("IoU@1")
    axes.grid(alpha=0.3)
    if rows:
        axes.legend()
    replace_file(pictures / "curves.png", png(figure, dpi=110))
    head = ("masks", "clicks", *(f"{value:.1f}" for value in GRANULARITIES))
    table = Table("IoU after so many clicks at each granularity", head, tuple(rows))
    return [f"![IoU@1 by granularity]({_link(pictures)}/curves.png)", "", markdown([table])]


def _chosen(found: _Results, pictures: Path) -> list[str]:
    names = [variant for variant in DEFINITIONS if variant in found.config.variants]
    shown = [
        (name, level, variant, summary)
        for name, level in found.each()
        for variant in names
        if (summary := found.summary(name, trained_name(variant), "optimal", level)) is not None
    ]
    rows = [
        (
            f"{name}, {level}s",
            DEFINITIONS[variant],
            *(f"{count / summary['masks']:.2f}" for count in summary["granularity"]["chosen"]),
            f"{_mean_chosen(summary):.2f}",
        )
        for name, level, variant, summary in shown
    ]
    figure = new_figure(9, 4)
    panels = dict(zip(LEVELS, figure.subplots(1, len(LEVELS), sharey=True), strict=True))
    for name, level, variant, summary in shown:
        shares = [count / summary["masks"] for count in summary["granularity"]["chosen"]]
        style, colour = "-" if variant == "AGG" else ":", f"C{found.config.sets.index(name)}"
        panels[level].plot(
            GRANULARITIES, shares, style, color=colour, marker=".", label=f"{name}, {DEFINITIONS[variant]}"
        )
    for level, axes in panels.items():
        axes.set_title(f"{level}s")
        axes.set_xlabel("best granularity")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    panels[LEVELS[0]].set_ylabel("share of the masks")
    replace_file(pictures / "best.png", png(figure, dpi=110))
    head = ("masks", "definition", *(f"{value:.1f}" for value in GRANULARITIES), "mean")
    table = Table("Share of the masks for which each granularity is the best", head, tuple(rows))
    return [f"![The best granularity]({_link(pictures)}/best.png)", "", markdown([table])]


def _link(folder: Path) -> str:
    """The name of a folder beside the report, for a link: of any bytes, with blanks and brackets."""
    return quote(os.fsencode(folder.name))


def _mean_chosen(summary: Json) -> float:
    counts = summary["granularity"]["chosen"]
    pairs = zip(counts, GRANULARITIES, strict=True)
    return float(sum(count * value for count, value in pairs) / sum(counts))


def _control(found: _Results) -> list[str]:
    rows = []
    for name, level in found.each():
        for variant in found.config.variants:
            summary = found.summary(name, trained_name(variant), "optimal", level) if has_table(variant) else None
            if summary is not None:
                control, median = summary["granularity"]["control"], summary["granularity"]["median_ratio"]
                cells = [f"{control[key]['mean']:.2f}" for key in ("spearman", "grows", "shrinks")]
                rows.append((f"{name}, {level}s", variant, *cells, "-" if median is None else f"{median:.2f}"))
    head = ("masks", "training", "Spearman", "steps that grow", "steps that shrink", "median area(0.2) / area(1.0)")
    return [markdown([Table("The first mask as the granularity grows from 0.1 to 1.0", head, tuple(rows))])]


def _recall(config: StudyConfig, roots: Mapping[str, str], out: Path) -> list[str]:
    name = config.parts
    parts = open_parts(f"{name}:{roots[name]}" if name in roots else name)
    recall = part_recall(open_proposals(str(out / "proposals")), parts, None, 0)
    rows = []
    for each in recall.by_size:
        for title, numbers in (("proposals", each.proposals), ("random cells", each.random)):
            rows.append((f"{each.which} ({numbers.parts})", title, *(f"{value:.3f}" for value in numbers.columns)))
        pairs = zip(each.proposals.columns, each.random.columns, strict=True)
        rows.append((each.which, "ratio", *(f"{ours / chance:.2f}" if chance else "-" for ours, chance in pairs)))
    head = ("annotated parts", "masks", *(f"IoU >= {level}" for level in THRESHOLDS), "mean best IoU")
    title = (
        f"{plural(recall.objects, 'object')} with annotated parts, {plural(recall.masks, 'proposal')}, "
        "as many random Voronoi cells"
    )
    return [markdown([Table(title, head, tuple(rows))])]


def _seeds(found: _Results) -> list[str]:
    first = found.config.variants[0]
    rows = []
    for name, level in found.each():
        each = [found.summary(name, trained_name(first, seed), "optimal", level) for seed in range(found.config.seeds)]
        for seed, summary in enumerate(each):
            if summary is not None and each.count(None) < len(each) - 1:
                clicks = [f"{at} {mean['mean']:.2f}" for at, mean in summary["noc"].items()]
                rows.append((f"{name}, {level}s", str(seed), ", ".join(clicks), f"{summary['iou']['1']['mean']:.3f}"))
    return [markdown([Table(f"{first} with other seeds", ("masks", "seed", "NoC at", "IoU@1"), tuple(rows))])]


def _trainings(config: StudyConfig, out: Path) -> list[str]:
    rows = []
    for variant, seed in trainings(config):
        name = trained_name(variant, seed)
        folder = out / "trained" / name
        written, rows_of_steps = training_plan(folder)["config"], read_log(folder / STEPS)
        # The weights are worth more than the log of how they were learnt.
        learning, steps = written["training"], rows_of_steps[-1]["step"] if rows_of_steps else "-"
        cells = (written["source"], learning["lr"], learning["epochs"], learning["batch"], steps)
        rows.append((name, *map(str, cells)))
    head = ("training", "source", "learning rate", "epochs", "batch", "steps")
    title = "Trainings. An epoch draws one mask per image; a photograph of two data sets is two images"
    return [markdown([Table(title, head, tuple(rows))])]


def _cost(config: StudyConfig, roots: Mapping[str, str], out: Path) -> list[str]:
    plan = open_proposals(str(out / "proposals")).plan
    seconds = {name: each["seconds"] for name, each in begun_steps(out).items()}
    rows = [(name, f"{each / 60:.1f}") for name, each in seconds.items()]
    steps = Table("Minutes of each step", ("step", "minutes"), (*rows, ("all", f"{sum(seconds.values()) / 60:.0f}")))
    model = plan["model"]
    lines = [f"- base: {model['architecture']} at {model['input_size']}, sha256 `{model['sha256'][:16]}`"]
    lines += [f"- {name}: folder {Path(root).name}" for name, root in roots.items()]
    lines += [f"- {key}: {_shown(value)}" for key, value in flatten(asdict(config)).items()]
    return [*lines, "", *_trainings(config, out), markdown([steps])]


def _shown(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)
