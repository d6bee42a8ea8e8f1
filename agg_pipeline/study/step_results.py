"""What the steps of a study leave: whether it is all there, so that a step need not be run again."""

from __future__ import annotations

from pathlib import Path

from agg_pipeline.database.reader import inspect_proposals
from agg_pipeline.database.status import COMPLETE, status
from agg_pipeline.evaluation.results_folder import check_results
from agg_pipeline.storage.store import Store
from agg_pipeline.study.study_steps import StudyStep
from agg_pipeline.training.training_folder import CHECKPOINT, PLAN
from schemas.canonical import Json
from schemas.documents import StudiedTraining
from schemas.errors import StorageError, UserError


def is_whole(step: StudyStep) -> bool:
    """Whether all that a step leaves is there, as it was written.

    Checksums of plans, sidecars, summaries and tables of evaluations are compared, and sizes of the tables of
    databases, which may be large.

    Raises:
        StorageError: a file cannot be read now.
    """
    try:
        if step.learnt:
            training_plan(step.folder)
            return Store(step.folder).sizes([step.learnt]).get(step.learnt, 0) > 0
        if step.modes:
            return all(check_results(f"{step.folder}/{place}") == mode for place, mode in step.modes.items())
        return status(inspect_proposals(step.folder)).state.startswith(COMPLETE)
    except StorageError:
        raise
    except UserError:
        return False


def may_resume(folder: str) -> bool:
    """Whether a training has left what it can be resumed with; StorageError if that cannot be found out now."""
    if not Store(folder).exists(CHECKPOINT):
        return False
    try:
        training_plan(folder)
    except StorageError:
        raise
    except UserError:
        return False
    return True


def training_plan(folder: str | Path) -> Json:
    """The plan of a training; UserError if it is missing or damaged."""
    plan: Json = Store(str(folder)).read_json(PLAN, StudiedTraining)
    return plan
