"""The two stages of an evaluation over one shard of images: load its masks, and simulate their interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agg_pipeline.datasets.evaluated_masks import EvaluatedMask, targets_of, why_skipped
from agg_pipeline.execution.batch_pixels import keep
from agg_pipeline.execution.chain import CpuStage, ModelStage
from agg_pipeline.execution.shard_task import ShardTask, read_entry
from agg_pipeline.storage.rle import encode
from schemas.config import BatchConfig, EvaluationConfig
from schemas.numbers import GRANULARITIES
from schemas.records import ImageSummary, Pixels, Reject
from stages.batches import batches
from stages.click_model import ClickModel
from stages.draws import uniforms
from stages.evaluate import Start, Step, Trace, best, evaluate
from stages.next_click import first_clicks


@dataclass(frozen=True, eq=False)
class Attempt:
    """An interaction with a mask, in the form in which it waits for the end of its shard.

    Attributes:
        start: how it began.
        steps: its clicks, in order.
        masks: compressed run lengths of the masks predicted after the first and after the last click; one mask if it
            had one click.
    """

    start: Start
    steps: tuple[Step, ...]
    masks: tuple[bytes, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The interactions with a mask.

    Attributes:
        target: the mask.
        attempts: its interactions, in the order of their starts.
        chosen: index of the interaction that is reported.
    """

    target: EvaluatedMask
    attempts: tuple[Attempt, ...]
    chosen: int


@dataclass(frozen=True, eq=False)
class EvaluationShard:
    """The state of a shard between its stages.

    Attributes:
        task: what the shard is made from.
        targets: masks to evaluate; gone when they are evaluated.
        rejects: images and masks that cannot be used.
        pixels: pixels of the images that are kept in memory, by image id; gone when their masks are evaluated.
        whole: False if masks were left out because of the task's limit.
        outcomes: interactions with each mask.
    """

    task: ShardTask[EvaluationConfig]
    targets: tuple[EvaluatedMask, ...]
    rejects: tuple[Reject, ...]
    pixels: Mapping[str, Pixels] = field(default_factory=dict)
    whole: bool = True
    outcomes: tuple[Outcome, ...] = ()


def load(task: ShardTask[EvaluationConfig]) -> EvaluationShard:
    """Read the masks of a shard. Images and masks that cannot be used become rejects."""
    targets: list[EvaluatedMask] = []
    rejects: list[Reject] = []
    pixels: dict[str, Pixels] = {}
    for entry in task.entries:
        if task.limit is not None and len(targets) >= task.limit:
            break
        record = read_entry(task, entry)
        if isinstance(record, Reject):
            rejects.append(record)
            continue
        rejects += record.rejects
        if not record.objects:
            # GrabCut's masks mark what is ignored instead of what is the object.
            reason = "no_object" if record.ignore is None else "all_ignored"
            rejects.append(Reject(entry.image_id, None, None, "load", reason))
        before = len(targets)
        for target in targets_of(record, task.config):
            skipped = why_skipped(target)
            if skipped is None:
                if task.chosen is None or target.target_id in task.chosen:
                    targets.append(target)
                continue
            detail = f"mask {target.target_id}"
            rejects.append(Reject(record.image_id, target.instance_id, None, "load", skipped, detail))
        if len(targets) > before:
            keep(pixels, record, task.config.batch)
        del record  # its pixels are gone before the next image is read
    kept = tuple(targets[: task.limit])
    return EvaluationShard(task, kept, tuple(rejects), pixels, whole=task.limit is None or len(kept) < task.limit)


def cut_interactions(shard: EvaluationShard) -> list[Sequence[EvaluatedMask]]:
    """Batches of masks."""
    config = shard.task.config
    return list(batches(shard.targets, lambda target: _size(target, config), _masks_at_a_time(config)))


def run_interactions(
    shard: EvaluationShard, batch: Sequence[EvaluatedMask], pixels: Sequence[Pixels], model: ClickModel
) -> list[Outcome]:
    """Simulate the interactions of a batch of masks.

    Args:
        shard: state of the shard.
        batch: one of the batches of ``cut_interactions``.
        pixels: pixels of each mask's image.
        model: the model to evaluate.

    Returns:
        One outcome per mask, in order.
    """
    config = shard.task.config
    starts = [starts_of(target, shard.task.dataset, config) for target in batch]
    subjects = [target.subject(own) for target, own in zip(batch, pixels, strict=True)]
    found = evaluate(subjects, starts, model, config.clicks)
    return [_outcome(target, traces, config) for target, traces in zip(batch, found, strict=True)]


def fill_interactions(shard: EvaluationShard, outcomes: Sequence[Outcome]) -> EvaluationShard:
    """Add the outcomes of all batches."""
    return replace(shard, targets=(), pixels={}, outcomes=tuple(outcomes))


def starts_of(target: EvaluatedMask, dataset: str, config: EvaluationConfig) -> list[Start]:
    """How the interactions of a mask begin, by the mode of the evaluation.

    Args:
        target: the mask.
        dataset: name of the data set; the first clicks of the mode best_of depend on it.
        config: configuration of the evaluation.

    Returns:
        One start per interaction, at least one.
    """
    return [replace(start, draws=_draws(target, dataset, config)) for start in _starts(target, dataset, config)]


def _draws(target: EvaluatedMask, dataset: str, config: EvaluationConfig) -> tuple[float, ...]:
    """The numbers that place the clicks of all interactions with a mask; none for clicks in centres."""
    if config.clicks.place == "centre":
        return ()
    count = config.clicks.max_clicks
    return tuple(uniforms(config.seed, dataset, target.target_id, target.instance_id, "place", 0, count).tolist())


def _starts(target: EvaluatedMask, dataset: str, config: EvaluationConfig) -> list[Start]:
    """The starts without their draws."""
    if config.mode == "none":
        return [Start()]
    if config.mode == "fixed":
        return [Start(config.granularity)]
    if config.mode == "per_class":
        known = dict(config.granularities)
        granularity = known.get(f"{target.level}:{target.class_name or ''}", known.get(target.level))
        return [Start(granularity)]
    if config.mode == "best_of":
        draws = uniforms(config.seed, dataset, target.target_id, target.instance_id, "best_of", 0, config.attempts)
        return [Start(click=click) for click in first_clicks(target.truth, target.ignore, draws)]
    return [Start(granularity) for granularity in GRANULARITIES]


def _image_of(target: EvaluatedMask) -> ImageSummary:
    return target.image


def _size(target: EvaluatedMask, config: EvaluationConfig) -> int:
    return target.image.height * target.image.width * config.interactions


def _masks_at_a_time(config: EvaluationConfig) -> BatchConfig:
    """The configured batch, counted in masks instead of interactions."""
    return replace(config.batch, batch_objects=max(1, config.batch.objects // config.interactions))


def _outcome(target: EvaluatedMask, traces: Sequence[Trace], config: EvaluationConfig) -> Outcome:
    attempts = tuple(_attempt(trace) for trace in traces)
    return Outcome(target, attempts, best(traces, target.wanted_iou, config.clicks.max_clicks))


def _attempt(trace: Trace) -> Attempt:
    masks = (trace.first,) if len(trace.steps) == 1 else (trace.first, trace.last)
    return Attempt(trace.start, trace.steps, tuple(map(encode, masks)))


LOAD = CpuStage("load", load)
INTERACTIONS = ModelStage("interactions", cut_interactions, _image_of, run_interactions, fill_interactions)


def stages(config: EvaluationConfig) -> tuple[CpuStage, ModelStage]:
    """The stages of a shard."""
    turns = config.interactions if config.clicks.carry_roi else 1
    return LOAD, replace(INTERACTIONS, longest=turns * config.clicks.max_clicks)
