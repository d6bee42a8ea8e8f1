"""Evaluation of one shard of images: what each Dask task does, without Dask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agg_pipeline.chain import ShardTask, read_entry
from agg_pipeline.datasets.dataset import Level
from agg_pipeline.datasets.parts import part_class
from schemas.config import BatchConfig, EvaluationConfig
from schemas.crop import MaskCrop, area, intersection
from schemas.numbers import BINS, GRANULARITIES
from schemas.records import ImageRecord, ObjectMask
from stages.batches import batches
from stages.click_model import ClickModel
from stages.draws import uniforms
from stages.evaluate import Start, Subject, Trace, best, evaluate, first_clicks
from stages.postprocess import Reject


@dataclass(frozen=True, eq=False)
class Target:
    """A mask that is evaluated. label: of a part, as published. kind: its class in words, None if unknown."""

    target_id: str
    image: ImageRecord
    instance_id: int
    level: Level
    category: str | None
    label: str | None
    kind: str | None
    subject: Subject


@dataclass(frozen=True, eq=False)
class Outcome:
    """A target, its interactions, and which of them is reported."""

    target: Target
    traces: tuple[Trace, ...]
    chosen: int


@dataclass(frozen=True, eq=False)
class EvaluationShard:
    """A shard on its way through the two stages. whole: whether no mask was left out because of the task's limit."""

    task: ShardTask[EvaluationConfig]
    targets: tuple[Target, ...]
    rejects: tuple[Reject, ...]
    whole: bool = True
    outcomes: tuple[Outcome, ...] = ()


def load(task: ShardTask[EvaluationConfig]) -> EvaluationShard:
    """Read the shard's images; what cannot be used becomes a reject."""
    targets: list[Target] = []
    rejects: list[Reject] = []
    for entry in task.entries:
        if task.limit is not None and len(targets) >= task.limit:
            break
        record = read_entry(task, entry)
        if isinstance(record, Reject):
            rejects.append(record)
            continue
        if not record.objects:
            # GrabCut's masks mark what is ignored instead of what is the object.
            reason = "no_object" if record.ignore is None else "all_ignored"
            rejects.append(Reject(entry.image_id, None, None, "load", reason))
        for target in targets_of(record, task.config):
            skipped = _why_skipped(target.subject)
            if skipped is None:
                if task.chosen is None or target.target_id in task.chosen:
                    targets.append(target)
                continue
            detail = f"mask {target.target_id}"
            rejects.append(Reject(record.image_id, target.instance_id, None, "load", skipped, detail))
    kept = targets[: task.limit]
    return EvaluationShard(task, tuple(kept), tuple(rejects), whole=task.limit is None or len(kept) < task.limit)


def targets_of(record: ImageRecord, config: EvaluationConfig) -> Iterator[Target]:
    """The masks of an image that are evaluated: each object, and then its parts."""
    for thing in record.objects:
        if config.level != "part":
            yield _target(record, thing, "object", "0", thing.mask, None, thing.category, config.clicks.object_target)
        if config.level != "object":
            for part in thing.parts:
                kind = part_class(thing, part)
                yield _target(
                    record, thing, "part", part.part_id, part.mask, part.label, kind, config.clicks.part_target
                )


def _target(
    record: ImageRecord,
    thing: ObjectMask,
    level: Level,
    part_id: str,
    mask: MaskCrop,
    label: str | None,
    kind: str | None,
    iou: float,
) -> Target:
    subject = Subject(record.pixels, mask, iou, record.ignore)
    target_id = f"{record.image_id}:{thing.instance_id}:{level}:{part_id}"
    return Target(target_id, record, thing.instance_id, level, thing.category, label, kind, subject)


def _why_skipped(subject: Subject) -> str | None:
    pixels = area(subject.truth)
    if pixels == 0:
        return "empty_object"
    ignored = 0 if subject.ignore is None else intersection(subject.truth, subject.ignore)
    return "all_ignored" if ignored == pixels else None


def run_interactions(shard: EvaluationShard, model: ClickModel) -> EvaluationShard:
    """Simulate the interactions of every mask, batch by batch."""
    config = shard.task.config
    outcomes: list[Outcome] = []
    for batch in batches(shard.targets, lambda target: _pixels(target, config), _masks_at_a_time(config)):
        starts = [starts_of(target, shard.task.dataset, config) for target in batch]
        found = evaluate([target.subject for target in batch], starts, model, config.clicks)
        outcomes += [_outcome(target, traces, config) for target, traces in zip(batch, found, strict=True)]
    return replace(shard, targets=(), outcomes=tuple(outcomes))


def starts_of(target: Target, dataset: str, config: EvaluationConfig) -> list[Start]:
    """How the interactions of a mask begin."""
    if config.mode == "none":
        return [Start()]
    if config.mode == "fixed":
        return [Start(config.granularity)]
    if config.mode == "per_class":
        known = dict(config.granularities)
        granularity = known.get(f"{target.level}:{target.kind or ''}", known.get(target.level))
        return [Start(granularity)]
    if config.mode == "best_of":
        subject = target.subject
        draws = uniforms(config.seed, dataset, target.target_id, target.instance_id, "best_of", 0, config.attempts)
        return [Start(click=click) for click in first_clicks(subject.truth, subject.ignore, draws)]
    return [Start(granularity) for granularity in GRANULARITIES]


def _interactions(config: EvaluationConfig) -> int:
    """Of one mask."""
    return {"optimal": BINS, "curves": BINS, "best_of": config.attempts}.get(config.mode, 1)


def _pixels(target: Target, config: EvaluationConfig) -> int:
    return target.image.height * target.image.width * _interactions(config)


def _masks_at_a_time(config: EvaluationConfig) -> BatchConfig:
    """The batch counted in masks, where the configuration counts what the model sees."""
    return replace(config.batch, batch_objects=max(1, config.batch.batch_objects // _interactions(config)))


def _outcome(target: Target, traces: Sequence[Trace], config: EvaluationConfig) -> Outcome:
    return Outcome(target, tuple(traces), best(traces, target.subject.target, config.clicks.max_clicks))
