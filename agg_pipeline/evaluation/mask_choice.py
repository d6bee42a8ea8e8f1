"""Which masks are evaluated where not all are: a sample of each level, or the first ones."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from agg_pipeline.database.fallen_images import reasons_in_words
from agg_pipeline.database.proposal_rows import reject_row
from agg_pipeline.datasets.all_cores import in_all_cores
from agg_pipeline.datasets.dataset import Dataset, Level
from agg_pipeline.datasets.evaluated_masks import sample_draw
from agg_pipeline.evaluation.interactions import load
from agg_pipeline.execution.shard_task import ShardTask
from schemas.canonical import Row
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.records import ImageEntry, Reject

Tasks = Sequence[ShardTask[EvaluationConfig]]
KILLED = "killed_worker"
"""Reason for which an image falls out whose reading has ended several processes."""


@dataclass(frozen=True, slots=True)
class ImageMasks:
    """The masks of an image that can be evaluated, (id, level) in their order, and why others cannot."""

    masks: tuple[tuple[str, Level], ...]
    rejects: tuple[Reject, ...]


def sampled(dataset: Dataset, tasks: Tasks, config: EvaluationConfig) -> list[ShardTask[EvaluationConfig]]:
    """Draw ``config.sample`` masks per level; all images are read to find their masks.

    A mask's draw depends on its id alone, so that a larger sample holds the smaller one.

    Args:
        dataset: the data set.
        tasks: the shards of all images.
        config: configuration of the evaluation.

    Returns:
        The tasks of the drawn masks. Images without a drawn mask are left out, but those that cannot be used are kept,
        so that they are recorded.

    Raises:
        UserError: there is no mask.
    """
    draws: dict[Level, list[tuple[float, str, str]]] = {}
    rejects: list[Reject] = []
    for entry, found in zip(_entries(tasks), _read(tasks), strict=True):
        rejects += found.rejects
        for target_id, level in found.masks:
            draw = sample_draw(config.seed, dataset.name, target_id)
            draws.setdefault(level, []).append((draw, target_id, entry.image_id))
    if not draws:
        raise nothing_to_evaluate(dataset, [reject_row(reject) for reject in rejects])
    drawn = [each for of_level in draws.values() for each in sorted(of_level)[: config.sample]]
    # What cannot be used is read again, so that it is recorded.
    rejected = {reject.image_id for reject in rejects if reject.instance_id is None}
    killed = frozenset(reject.image_id for reject in rejects if reject.reason == KILLED)
    chosen: dict[str, set[str]] = {image_id: set() for image_id in rejected}
    for _, target_id, image_id in drawn:
        chosen.setdefault(image_id, set()).add(target_id)
    kept = []
    for task in tasks:
        entries = tuple(entry for entry in task.entries if entry.image_id in chosen)
        own = frozenset(target_id for entry in entries for target_id in chosen[entry.image_id])
        kept.append(replace(task, entries=entries, chosen=own, excluded=killed & {entry.image_id for entry in entries}))
    return [task for task in kept if task.entries]


def limited(tasks: Tasks, masks: int) -> list[ShardTask[EvaluationConfig]]:
    """The tasks of the first ``masks`` masks; images are read until so many are found."""
    kept = []
    with closing(_read(tasks)) as found:
        for task in tasks:
            entries = []
            limit = masks
            killed = set(task.excluded)
            for entry in task.entries:
                entries.append(entry)
                image = next(found)
                killed.update(reject.image_id for reject in image.rejects if reject.reason == KILLED)
                masks -= len(image.masks)
                if masks <= 0:
                    break
            kept.append(replace(task, entries=tuple(entries), limit=limit, excluded=frozenset(killed)))
            if masks <= 0:
                break
    return kept


def nothing_to_evaluate(dataset: Dataset, rejects: Sequence[Row]) -> UserError:
    """The error for a data set without a mask that can be evaluated.

    Args:
        dataset: the data set.
        rejects: rows of the table ``rejects``.
    """
    why = f": {reasons_in_words(rejects)}" if rejects else ""
    classes = f"; its classes: {', '.join(dataset.classes)}" if dataset.selection else ""
    return UserError(f"{dataset.name} {dataset.split} has no mask to evaluate{why}{classes}")


def _entries(tasks: Tasks) -> list[ImageEntry]:
    return [entry for task in tasks for entry in task.entries]


def _read(tasks: Tasks) -> Generator[ImageMasks, None, None]:
    """The masks of every image of the tasks, read in all cores."""
    # Sent to the processes again and again: without the images.
    task = replace(tasks[0], entries=())
    return in_all_cores(partial(masks_of, task), _entries(tasks), _died)


def _died(entry: ImageEntry, how: str) -> ImageMasks:
    """The masks of an image that killed the process that read it: none, and a reject."""
    return ImageMasks((), (Reject(entry.image_id, None, None, "load", KILLED, f"while it was read, {how}"),))


def masks_of(task: ShardTask[EvaluationConfig], entry: ImageEntry) -> ImageMasks:
    """Read an image as the task would. An image that cannot be read has a reject and no masks."""
    found = load(replace(task, entries=(entry,)))
    return ImageMasks(tuple((target.target_id, target.level) for target in found.targets), found.rejects)
