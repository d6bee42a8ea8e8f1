"""One evaluation, from its run to its report: what ``agg eval run`` does once and ``agg eval adapted`` several times.

It imports torch, so commands import it in their bodies.
"""

from __future__ import annotations

from collections.abc import Callable

from agg_pipeline.cli.run_log import RunLog, logged
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.evaluation.evaluation_page import write_report
from agg_pipeline.evaluation.results_folder import Evaluation
from agg_pipeline.evaluation.run import run
from agg_pipeline.evaluation.terminal_summary import RunningNoc, print_evaluation
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.models.chosen_model import ChosenModel
from agg_pipeline.report.printed import say
from agg_pipeline.report.progress import RunProgress
from schemas.config import EvaluationConfig


def evaluate(
    dataset: Dataset,
    model: tuple[ChosenModel, str],
    config: EvaluationConfig,
    limit_objects: int | None,
    options: RunOptions,
    pictures: int,
    with_published: bool,
    log: RunLog,
) -> Evaluation:
    """Run an evaluation; print and write what it found.

    Args:
        dataset: its images.
        model: path of a click model and of its adapter, "" for none; or another model and "".
        config: how they are evaluated.
        limit_objects: evaluate only the first masks of the plan; None for all.
        options: where the results go, and who does the work.
        pictures: best, median and worst masks on the page, of each.
        with_published: whether the page has the paper's rows.
        log: log of the command.
    """
    progress = RunProgress(RunningNoc())

    def report(evaluation: Evaluation, check: Callable[[], None]) -> None:
        progress.close()
        print_evaluation(evaluation)
        write_report(evaluation, dataset, pictures, with_published, check)
        say(f"{evaluation.store.url}/report.html shows the results; their tables are in the same folder")

    try:
        return run(dataset, *model, config, limit_objects, options, logged(progress.callbacks(), log), report)
    finally:
        progress.close()
