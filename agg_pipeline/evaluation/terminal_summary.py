"""What an evaluation shows on the terminal: the NoC so far, and the table of results."""

from __future__ import annotations

from collections import Counter

from agg_pipeline.evaluation.per_class import without_granularity
from agg_pipeline.evaluation.results_folder import Evaluation
from agg_pipeline.report.printed import say
from agg_pipeline.report.terminal import print_rows
from agg_pipeline.report.text_table import mean_cell
from schemas.canonical import Json
from schemas.tables import IMAGE_REASONS, REASONS
from schemas.words import plural, speed


class RunningNoc:
    """Mean NoC of the finished shards. Call it with the sidecar of each shard."""

    def __init__(self) -> None:
        self._masks: Counter[tuple[str, float]] = Counter()
        self._clicks: Counter[tuple[str, float]] = Counter()

    def __call__(self, sidecar: Json) -> str:
        """Add a shard, and return the NoC so far in words."""
        for level, counted in sidecar["noc"].items():
            key = level, counted["target"]
            self._masks[key] += counted["masks"]
            self._clicks[key] += counted["clicks"]
        return ", ".join(
            f"NoC@{100 * target:g} {self._clicks[level, target] / masks:.2f} ({plural(masks, level)})"
            for (level, target), masks in sorted(self._masks.items())
        )


def interval(estimate: Json, images: int, digits: int = 2) -> str:
    """Write a mean of the summary as a cell of a table.

    Args:
        estimate: the mean with the ends of its interval, from the summary.
        images: number of images that it was measured on.
        digits: number of decimals.
    """
    return mean_cell(estimate["mean"], estimate["low"], estimate["high"], images, f".{digits}f")


def print_evaluation(evaluation: Evaluation) -> None:
    """Print NoC, IoU and controllability per level, then remarks and times."""
    summary = evaluation.summary
    carried = " (last IoU carried forward)" if summary["iou_carried_forward"] else ""
    for level, found in summary["levels"].items():
        all_masks = found["all"]
        images = all_masks["images"]
        rows = [("masks", str(all_masks["masks"]))]
        rows += [(f"NoC@{100 * float(iou):g}", interval(mean, images)) for iou, mean in all_masks["noc"].items()]
        limit = summary["plan"]["config"]["clicks"]["max_clicks"]
        rows += [(f">={limit}@{100 * float(iou):g}", str(count)) for iou, count in all_masks["at_limit"].items()]
        rows += [
            (f"IoU@{k}{carried if k != '1' else ''}", interval(mean, images, 3)) for k, mean in all_masks["iou"].items()
        ]
        if "granularity" in all_masks:
            rows += _control_rows(all_masks["granularity"], images)
        print_rows(f"{level}s: {how(summary)}", ("", "mean [95 %]"), rows)
    for line in remarks(summary):
        say(line)
    timings = evaluation.timings
    if timings is not None and timings["latency"]:
        latency = timings["latency"]
        say(
            f"one click takes {1e3 * latency['median']:.0f} ms, at the 95th percentile {1e3 * latency['p95']:.0f} ms; "
            f"all workers together do {speed(timings['masks'] / timings['seconds'], 'mask')}"
        )
        if latency["parameters"] is not None:
            say(f"the model has {size_of_model(latency['parameters'])}")


def size_of_model(parameters: int) -> str:
    """The number of a model's weights in words."""
    return f"{parameters / 1e6:.1f} million weights" if parameters else "no weights"


def _control_rows(granularity: Json, images: int) -> list[tuple[str, str]]:
    control = granularity["control"]
    median = granularity["median_ratio"]
    return [
        ("Spearman of granularity and area", interval(control["spearman"], images)),
        ("steps at which the mask grows by 1 %", interval(control["grows"], images)),
        ("steps at which it shrinks", interval(control["shrinks"], images)),
        ("area(0.2) / area(1.0)", interval(control["ratio"], images) if control["ratio"]["count"] else "-"),
        ("its median", "-" if median is None else f"{median:.2f}"),
    ]


def how(summary: Json) -> str:
    """The mode of an evaluation in words."""
    candidates = _candidates(summary)
    return _mode(summary["plan"]["config"]) + (f", best of {candidates} masks" if candidates > 1 else "")


def _candidates(summary: Json) -> int:
    """Masks per prediction, of which the ground truth has chosen."""
    return int(summary["plan"]["model"].get("candidates", 1))


def _mode(config: Json) -> str:
    mode = config["mode"]
    if mode == "fixed":
        return f"granularity {config['granularity']}"
    if mode == "best_of":
        return f"best of {config['attempts']} first clicks, chosen by the ground truth"
    return {
        "none": "no granularity",
        "per_class": "one granularity for each class, chosen on other results",
        "optimal": "best granularity, chosen by the ground truth",
        "curves": "best granularity, chosen by the ground truth",
    }[mode]


def remarks(summary: Json) -> list[str]:
    """One line for each thing that a reader of the numbers must know."""
    lines = []
    if (candidates := _candidates(summary)) > 1:
        lines.append(f"after each click, the best of {candidates} masks was chosen by the ground truth")
    config = summary["plan"]["config"]
    limit = config["clicks"]["max_clicks"]
    for level, found in summary["levels"].items():
        if empty := found["all"]["empty"]:
            lines.append(f"{plural(empty, f'{level} mask')}: nothing was predicted even after {plural(limit, 'click')}")
        if config["mode"] == "per_class":
            line = without_granularity(level, found["by_class"], config["granularities"])
            lines += [line] if line else []
    for reason, count in summary["rejects"].items():
        what = "image" if reason in IMAGE_REASONS else "mask"
        lines.append(f"{plural(count, what)} left out: {REASONS[reason]}; see rejects.parquet")
    return lines
