"""The stages applied to one shard of images: what each Dask task does, without Dask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

import pyarrow as pa

from agg_pipeline.database.proposal_rows import tables, write_proposals
from agg_pipeline.execution.chain import Chain, ShardTask, Stage, read_entry
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import ProposalsConfig
from schemas.crop import area
from schemas.records import Estimate, ImageSummary, Loop, ObjectProposals, PartMask, Query, Reject, Target
from stages.batches import batches
from stages.click_model import ClickModel
from stages.complement import add_complements
from stages.granularity import choose_click, estimate
from stages.mask_engine import loop_length, random_click, simulate
from stages.postprocess import postprocess, reject


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard on its way through the stages; each stage fills the field that the next one reads."""

    task: ShardTask[ProposalsConfig]
    images: tuple[ImageSummary, ...]
    targets: tuple[Target, ...]
    rejects: tuple[Reject, ...]
    loops: tuple[Loop, ...] = ()
    proposals: tuple[ObjectProposals, ...] = ()
    estimates: tuple[Estimate, ...] = ()


def load(task: ShardTask[ProposalsConfig]) -> Shard:
    """Read the shard's images; what cannot be used becomes a reject."""
    images: list[ImageSummary] = []
    targets: list[Target] = []
    rejects: list[Reject] = []
    for entry in task.entries:
        record = read_entry(task, entry)
        if isinstance(record, Reject):
            rejects.append(record)
            continue
        images.append(
            ImageSummary(record.image_id, record.path, record.height, record.width, record.sha256, record.licence)
        )
        if not record.objects:
            rejects.append(Reject(entry.image_id, None, None, "load", "no_object"))
        for instance in record.objects:
            target = Target(record, instance)
            reason = _why_skipped(target, task.config.min_box_fill)
            if reason is not None:
                rejects.append(reject(target, None, "load", reason))
                continue
            targets.append(target)
            if task.config.source == "gt":
                rejects += [_empty_part(target, part) for part in instance.parts if area(part.mask) == 0]
    return Shard(task, tuple(images), tuple(targets), tuple(rejects))


def _empty_part(target: Target, part: PartMask) -> Reject:
    detail = f"annotated part {part.part_id}"
    return Reject(target.image.image_id, target.object.instance_id, None, "load", "empty", detail)


def _why_skipped(target: Target, min_box_fill: float) -> str | None:
    mask = target.object.mask
    if area(mask) == 0:
        return "empty_object"
    return "sparse_object" if area(mask) < min_box_fill * mask.box.height * mask.box.width else None


def _pixels(target: Target) -> int:
    return target.image.height * target.image.width


def run_mask_engine(shard: Shard, model: ClickModel) -> Shard:
    """Multi-granularity loop simulation of every object, batch by batch."""
    config, dataset = shard.task.config, shard.task.dataset
    draw = random_click(config.seed, dataset, config.loop)
    loops: list[Loop] = []
    starts = [(target, round_) for target in shard.targets for round_ in range(config.loop.rounds)]
    for batch in batches(starts, lambda start: _pixels(start[0]), config.batch):
        lengths = [loop_length(config.seed, dataset, target, config.loop, round_) for target, round_ in batch]
        targets, rounds = zip(*batch, strict=True)
        loops += simulate(targets, lengths, model, config.loop, draw, rounds)
    return replace(shard, loops=tuple(loops))


def run_postprocess(shard: Shard) -> Shard:
    """Clean and filter every object's candidates."""
    config = shard.task.config
    of_target = groupby(shard.loops, attrgetter("target"))
    done = tuple(postprocess([*loops], config.masks, config.seed, shard.task.dataset) for _, loops in of_target)
    return replace(shard, loops=(), proposals=done)


def run_complement(shard: Shard) -> Shard:
    """Add the complements."""
    config = shard.task.config
    done = tuple(
        add_complements(proposals, config.masks, config.seed, shard.task.dataset) for proposals in shard.proposals
    )
    return replace(shard, proposals=done)


def run_granularity(shard: Shard, model: ClickModel) -> Shard:
    """Estimate the granularity of every proposal, or of every annotated part, batch by batch."""
    config = shard.task.config
    choose = choose_click(config.granularity, config.seed, shard.task.dataset)
    queries = _annotated(shard.targets) if config.source == "gt" else _proposed(shard.proposals)
    estimates: list[Estimate] = []
    for batch in batches(queries, lambda query: _pixels(query.target), config.batch):
        estimates += estimate(batch, model, config.granularity, choose)
    return replace(shard, estimates=tuple(estimates))


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


def write_shard(shard: Shard, store: Store, config_hash: str) -> Json:
    """Write the tables of a finished shard into a database; returns its sidecar."""
    return write_proposals(store, shard.task.index, len(shard.task.entries), config_hash, shard_tables(shard))


LOAD = Stage("load", "cpu", load)
MASK_ENGINE = Stage("mask_engine", "model", run_mask_engine)
POSTPROCESS = Stage("postprocess", "cpu", run_postprocess)
COMPLEMENT = Stage("complement", "cpu", run_complement)
GRANULARITY = Stage("granularity", "model", run_granularity)


def chain(config: ProposalsConfig) -> Chain:
    """The stages of a shard; annotated parts need no mask engine."""
    if config.source == "gt":
        return Chain((LOAD, GRANULARITY), write_shard)
    return Chain((LOAD, MASK_ENGINE, POSTPROCESS, COMPLEMENT, GRANULARITY), write_shard)
