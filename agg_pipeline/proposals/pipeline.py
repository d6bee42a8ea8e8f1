"""The stages of AGG chained over one shard of images: load, simulate, clean, complement, estimate, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import pyarrow as pa

from agg_pipeline.database.proposal_rows import tables, write_proposals
from agg_pipeline.execution.batch_pixels import keep
from agg_pipeline.execution.chain import Chain, CpuStage, ModelStage
from agg_pipeline.execution.shard_files import Stamp
from agg_pipeline.execution.shard_task import ShardTask, read_entry
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import ProposalsConfig
from schemas.crop import area
from schemas.records import (
    Estimate,
    ImageRecord,
    ImageSummary,
    Loop,
    ObjectProposals,
    PartMask,
    Pixels,
    Query,
    Reject,
    Target,
)
from stages.batches import batches
from stages.click_model import ClickModel
from stages.complement import add_complements
from stages.granularity import choose_click, estimate
from stages.mask_engine import loop_length, random_click, simulate
from stages.postprocess import postprocess, reject

Start = tuple[Target, int]
"""An object and the number of one of its rounds, from 0."""
ESTIMATES_PER_CANDIDATE = 1.3
"""Time of the granularity estimator per candidate mask, relative to the time of the mask engine. Measured: 0.8 to 1.7,
depending on model and data. A candidate gives at most two proposals: itself and its complement."""


@dataclass(frozen=True, eq=False)
class Shard:
    """The state of a shard between two stages. Each stage fills the field that the next one reads.

    Attributes:
        task: what the shard is made from.
        images: images that could be read.
        targets: objects whose proposals are wanted.
        rejects: images and objects that cannot be used.
        pixels: pixels of the images that are kept in memory, by image id; gone after the last model stage.
        loops: simulated interactions, in the order of the targets; gone after post-processing.
        proposals: proposals of each object that has been simulated.
        estimates: granularities of all proposals.
    """

    task: ShardTask[ProposalsConfig]
    images: tuple[ImageSummary, ...]
    targets: tuple[Target, ...]
    rejects: tuple[Reject, ...]
    pixels: Mapping[str, Pixels] = field(default_factory=dict)
    loops: tuple[Loop, ...] = ()
    proposals: tuple[ObjectProposals, ...] = ()
    estimates: tuple[Estimate, ...] = ()


def load(task: ShardTask[ProposalsConfig]) -> Shard:
    """Read the images of a shard. Images and objects that cannot be used become rejects."""
    images: list[ImageSummary] = []
    targets: list[Target] = []
    rejects: list[Reject] = []
    pixels: dict[str, Pixels] = {}
    for entry in task.entries:
        record = read_entry(task, entry)
        if isinstance(record, Reject):
            rejects.append(record)
            continue
        image = record.summary
        images.append(image)
        found, dropped = _targets(image, record, task.config)
        targets += found
        rejects += dropped
        if found:
            keep(pixels, record, task.config.batch)
        del record  # its pixels are gone before the next image is read
    return Shard(task, tuple(images), tuple(targets), tuple(rejects), pixels)


def _targets(image: ImageSummary, record: ImageRecord, config: ProposalsConfig) -> tuple[list[Target], list[Reject]]:
    """The objects of an image whose proposals are wanted, and what of the image cannot be used."""
    targets: list[Target] = []
    rejects = list(record.rejects)
    if not record.objects:
        rejects.append(Reject(image.image_id, None, None, "load", "no_object"))
    for instance in record.objects:
        target = Target(image, instance)
        reason = _why_skipped(target, config.min_box_fill)
        if reason is not None:
            rejects.append(reject(target, None, "load", reason))
            continue
        targets.append(target)
        if config.source == "gt":
            rejects += [_empty_part(target, part) for part in instance.parts if area(part.mask) == 0]
    return targets, rejects


def _empty_part(target: Target, part: PartMask) -> Reject:
    detail = f"annotated part {part.part_id}"
    return Reject(target.image.image_id, target.object.instance_id, None, "load", "empty", detail)


def _why_skipped(target: Target, min_box_fill: float) -> str | None:
    mask = target.object.mask
    if area(mask) == 0:
        return "empty_object"
    return "sparse_object" if area(mask) < min_box_fill * mask.box.height * mask.box.width else None


def _size(image: ImageSummary) -> int:
    return image.height * image.width


def _image_of_start(start: Start) -> ImageSummary:
    target, _ = start
    return target.image


def _image_of_query(query: Query) -> ImageSummary:
    return query.target.image


def cut_mask_engine(shard: Shard) -> list[Sequence[Start]]:
    """Batches of the mask engine: all objects, each with all its rounds."""
    config = shard.task.config
    starts = [(target, round_) for target in shard.targets for round_ in range(config.loop.rounds)]
    return list(batches(starts, lambda start: _size(_image_of_start(start)), config.batch))


def run_mask_engine(shard: Shard, batch: Sequence[Start], pixels: Sequence[Pixels], model: ClickModel) -> list[Loop]:
    """Simulate the loops of a batch (Section 3.2).

    Args:
        shard: state of the shard.
        batch: one of the batches of ``cut_mask_engine``.
        pixels: pixels of each object's image.
        model: the click model.

    Returns:
        One loop per start, in order.
    """
    config, dataset = shard.task.config, shard.task.dataset
    draw = random_click(config.seed, dataset, config.loop)
    lengths = [loop_length(config.seed, dataset, target, config.loop, round_) for target, round_ in batch]
    targets, rounds = zip(*batch, strict=True)
    return simulate(targets, pixels, lengths, model, config.loop, draw, rounds)


def fill_mask_engine(shard: Shard, loops: Sequence[Loop]) -> Shard:
    """Add the loops of all batches."""
    return replace(shard, loops=tuple(loops))


def run_postprocess(shard: Shard) -> Shard:
    """Clean and filter the candidates of every object."""
    config = shard.task.config
    # Not by identity: loops that another worker has simulated hold copies of their objects.
    of_target = groupby(shard.loops, lambda loop: loop.target.key)
    done = tuple(postprocess([*loops], config.masks, config.seed, shard.task.dataset) for _, loops in of_target)
    return replace(shard, loops=(), proposals=done)


def run_complement(shard: Shard) -> Shard:
    """Add the complements of the proposals."""
    config = shard.task.config
    done = tuple(
        add_complements(proposals, config.masks, config.seed, shard.task.dataset) for proposals in shard.proposals
    )
    return replace(shard, proposals=done)


def cut_granularity(shard: Shard) -> list[Sequence[Query]]:
    """Batches of the granularity estimator: all proposals, or all annotated parts."""
    config = shard.task.config
    queries = _annotated(shard.targets) if config.source == "gt" else _proposed(shard.proposals)
    return list(batches(queries, lambda query: _size(_image_of_query(query)), config.batch))


def run_granularity(
    shard: Shard, batch: Sequence[Query], pixels: Sequence[Pixels], model: ClickModel
) -> list[Estimate]:
    """Estimate the granularities of a batch (Eq. 3-6).

    Args:
        shard: state of the shard.
        batch: one of the batches of ``cut_granularity``.
        pixels: pixels of each mask's image.
        model: the click model.

    Returns:
        One estimate per query, in order.
    """
    config = shard.task.config
    choose = choose_click(config.granularity, config.seed, shard.task.dataset)
    return estimate(batch, pixels, model, config.granularity, choose)


def fill_granularity(shard: Shard, estimates: Sequence[Estimate]) -> Shard:
    """Add the granularities of all batches; no stage needs pixels any more."""
    return replace(shard, pixels={}, estimates=tuple(estimates))


def _annotated(targets: Sequence[Target]) -> list[Query]:
    return [Query(target, "annotated", part) for target in targets for part in target.object.parts if area(part.mask)]


def _proposed(proposals: Sequence[ObjectProposals]) -> list[Query]:
    queries = []
    for of_object in proposals:
        queries += [Query(of_object.target, "part", part) for part in of_object.parts]
        queries += [Query(of_object.target, "complement", part) for part in of_object.complements]
    return queries


def shard_tables(shard: Shard) -> dict[str, pa.Table]:
    """The tables of a finished shard, by name."""
    rejects = [*shard.rejects, *(reject for proposals in shard.proposals for reject in proposals.rejects)]
    return tables(shard.images, shard.targets, shard.estimates, rejects)


def write_shard(shard: Shard, store: Store, stamp: Stamp) -> Json:
    """Write the tables of a finished shard into a database.

    Args:
        shard: its last state.
        store: the database.
        stamp: what every file says of the run.

    Returns:
        The sidecar, which is not written yet.
    """
    return write_proposals(store, shard.task.index, len(shard.task.entries), stamp, shard_tables(shard))


LOAD = CpuStage("load", load)
MASK_ENGINE = ModelStage("mask_engine", cut_mask_engine, _image_of_start, run_mask_engine, fill_mask_engine)
POSTPROCESS = CpuStage("postprocess", run_postprocess)
COMPLEMENT = CpuStage("complement", run_complement)
GRANULARITY = ModelStage("granularity", cut_granularity, _image_of_query, run_granularity, fill_granularity)


def chain(config: ProposalsConfig) -> Chain:
    """The stages of a shard. Annotated parts need no mask engine."""
    if config.source == "gt":
        return Chain((LOAD, GRANULARITY), write_shard)
    steps = 1 + (config.loop.min_negatives + config.loop.max_negatives) / 2
    candidates = steps if config.loop.keep == "all" else 1
    engine = replace(MASK_ENGINE, longest=1 + config.loop.max_negatives, weight=steps)
    granularity = replace(GRANULARITY, weight=ESTIMATES_PER_CANDIDATE * candidates)
    return Chain((LOAD, engine, POSTPROCESS, COMPLEMENT, granularity), write_shard)
