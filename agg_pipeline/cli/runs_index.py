"""Finds the runs below a folder, and keeps ``runs/index.html`` up to date. It reads facts alone: no torch, no Dask."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from agg_pipeline.database.contents import DATABASE, MANIFEST
from agg_pipeline.database.description import description
from agg_pipeline.evaluation.arms import ARMS
from agg_pipeline.evaluation.comparison_page import PAGE as COMPARISON
from agg_pipeline.evaluation.results_folder import REPORT, SUMMARY
from agg_pipeline.evaluation.run_arms import TABLES
from agg_pipeline.execution.plan import model_in_words, sources
from agg_pipeline.execution.shard_files import PLAN
from agg_pipeline.report.difference_page import PAGE as DIFFERENCE
from agg_pipeline.report.index_page import RunEntry, runs_folder, write_index
from agg_pipeline.storage.local_file import read_file
from agg_pipeline.storage.store import Store
from agg_pipeline.study.run import DONE
from agg_pipeline.training.training_folder import ADAPTER, MODEL, PAGE, STEPS
from agg_pipeline.training.training_folder import PLAN as TRAINING
from schemas import limits
from schemas.canonical import Json
from schemas.documents import BegunSteps, EvaluationSummary, IndexedTraining, Manifest, Plan
from schemas.errors import StorageError, UserError
from schemas.words import plural

DEPTH = 4
"""Levels of folders below ``runs`` in which runs are looked for."""


def closing_line(out: str, page: str) -> str:
    """Update the index of the runs around an output folder, and say what to open: the last line of a command.

    Args:
        out: output folder of the command.
        page: its page.
    """
    folder = runs_folder(out)
    if folder is None:
        return f"open {page}"
    try:
        return f"open {page} (all runs: {update_index(folder)})"
    except StorageError as error:
        return f"open {page} ({error})"


def update_index(folder: Path) -> Path:
    """Write the index of the runs below a folder, and return its path; StorageError if it cannot be written."""
    return write_index(folder, find_runs(folder))


def find_runs(folder: Path) -> list[RunEntry]:
    """The runs below a folder, sorted by path. What lies inside a run is a part of it."""
    entries = []
    for place, names, _ in os.walk(folder):
        path = Path(place)
        entry = _described(path, path.relative_to(folder).as_posix())
        if entry is not None:
            entries.append(entry)
        if entry is not None or len(path.relative_to(folder).parts) >= DEPTH:
            names.clear()
        names.sort()
    return entries


def _described(path: Path, name: str) -> RunEntry | None:
    """The entry of a run in the index, under this name; None if the folder holds no run."""
    for marker, describe in DESCRIBED.items():
        if (path / marker).is_file():
            try:
                return describe(path, name)
            except (UserError, LookupError, ArithmeticError, TypeError, ValueError, AttributeError, OSError):
                return RunEntry(name, "unknown", "", "", "", (f"{marker} cannot be read",), ((marker, marker),))
    return None


def _proposals(path: Path, name: str) -> RunEntry:
    database = path / DATABASE
    finished = (database / MANIFEST).exists()
    facts = _read(database / (MANIFEST if finished else PLAN), Manifest if finished else Plan)
    plan = facts["plan"] if finished else facts
    figures = ["not finished"]
    if finished:
        totals = facts["totals"]
        masks = sum(count for kind, count in totals["proposals"].items() if kind != "object")
        counts = (totals["images"], "image"), (totals["objects"], "object"), (masks, "proposal")
        figures = [", ".join(plural(count, noun) for count, noun in counts)]
        if not facts["complete"]:
            planned = sum(source["dataset"]["images"] for source in sources(plan))
            figures.append(f"{totals['planned_images']} of {plural(planned, 'image')} of the split")
    about = description(plan)
    kind = "annotated parts" if about.annotated else "proposals"
    models = "; ".join(dict.fromkeys(model_in_words(source["model"]) for source in sources(plan)))
    pages = _pages(path, ("gallery", "report/gallery.html"), ("statistics", "report/stats.html"))
    date = _date(database / MANIFEST)
    return RunEntry(name, kind, about.data, models, date, tuple(figures), pages)


def _evaluation(path: Path, name: str) -> RunEntry:
    summary = _read(path / SUMMARY, EvaluationSummary)
    plan = summary["plan"]
    pages = _pages(path, ("report", REPORT))
    figures = (f"granularity: {plan['config']['mode']}", *_levels(summary))
    return RunEntry(
        name, "evaluation", _data(plan), model_in_words(plan["model"]), _date(path / SUMMARY), figures, pages
    )


def _comparison(path: Path, name: str) -> RunEntry:
    """Results of ``agg eval adapted``; the figures are those of the fine-tuned model with the best granularity."""
    arms = [arm for arm in ARMS if (path / arm / SUMMARY).exists()]
    shown = "optimal" if "optimal" in arms else arms[0]
    summary = _read(path / shown / SUMMARY, EvaluationSummary)
    pages = _pages(path, ("comparison", COMPARISON), ("tables", TABLES), *((arm, f"{arm}/{REPORT}") for arm in arms))
    figures = tuple(f"{shown}: {line}" for line in _levels(summary))
    plan = summary["plan"]
    return RunEntry(
        name, "comparison", _data(plan), model_in_words(plan["model"]), _date(path / TABLES), figures, pages
    )


def _training(path: Path, name: str) -> RunEntry:
    config = _read(path / TRAINING, IndexedTraining)["config"]
    kind = "fine-tuning" if "lora" in config else "pre-training"
    result = next((path / result for result in (ADAPTER, MODEL) if (path / result).exists()), path / ADAPTER)
    figures = [f"recipe {config['recipe']}"]
    if (path / STEPS).exists():
        step, _, loss = _last_line(path / STEPS).split(",")[:3]
        figures.append(f"{plural(int(step), 'step')}, last loss {float(loss):.3f}")
    pages = _pages(path, ("training", PAGE))
    return RunEntry(name, kind, "", config.get("architecture", ""), _date(result), tuple(figures), pages)


def _study(path: Path, name: str) -> RunEntry:
    steps = _read(path / DONE, BegunSteps)["steps"]
    finished = sum(step["finished"] for step in steps.values())
    pages = _pages(path, ("report", f"../{path.name}.md"))
    date = _date(path / DONE) if finished == len(steps) else ""
    return RunEntry(name, "study", "", "", date, (f"finished steps: {finished}",), pages)


def _page_alone(kind: str, page: str) -> Callable[[Path, str], RunEntry]:
    """How a folder is described that holds a page about other runs, and nothing else of a run."""

    def described(path: Path, name: str) -> RunEntry:
        return RunEntry(name, kind, "", "", _date(path / page), (), _pages(path, (kind, page)))

    return described


DESCRIBED: dict[str, Callable[[Path, str], RunEntry]] = {
    f"{DATABASE}/{PLAN}": _proposals,
    TABLES: _comparison,
    SUMMARY: _evaluation,
    TRAINING: _training,
    DONE: _study,
    COMPARISON: _page_alone("comparison", COMPARISON),
    DIFFERENCE: _page_alone("difference", DIFFERENCE),
}
"""File that only one kind of run has, and the function that describes such a run."""


def _read(path: Path, kind: Any) -> Json:
    facts: Json = Store(str(path.parent)).read_json(path.name, kind, limits.PLAN_BYTES)
    return facts


def _data(plan: Json) -> str:
    return f"{plan['dataset']['name']}, {plan['dataset']['split']}"


def _levels(summary: Json) -> tuple[str, ...]:
    """A line for each level: clicks to the highest IoU that is known of all masks, IoU after the first click."""
    lines = []
    for level, groups in summary["levels"].items():
        figures = groups["all"]
        iou = max(figures["noc"], key=float)
        clicks, first = figures["noc"][iou]["mean"], figures["iou"]["1"]["mean"]
        lines.append(
            f"{plural(figures['masks'], level)}: NoC@{round(100 * float(iou))} {clicks:.2f}, IoU@1 {first:.3f}"
        )
    return tuple(lines)


def _pages(path: Path, *pages: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Those of the pages that are there, and the log."""
    return tuple((text, page) for text, page in (*pages, ("log", "log.txt")) if (path / page).exists())


def _date(path: Path) -> str:
    """When a file was written, in local time; "" if there is none."""
    if not path.exists():
        return ""
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M")


def _last_line(path: Path) -> str:
    """The last whole line of a text file."""
    return read_file(path, limits.LOG_BYTES).decode().rpartition("\n")[0].rpartition("\n")[2]
