"""``agg finetune``: granularity-controllable learning, from proposal databases and a click model to an adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from agg_pipeline import database
from agg_pipeline.datasets.registry import known_dataset, open_dataset, root_of
from agg_pipeline.evaluation.shard import Target
from agg_pipeline.models.adapter import Adapter, attach_adapter
from agg_pipeline.models.checkpoints import CheckpointInfo, Origin, load_click_model, save_adapter, save_click_model
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.proposals import write_sampling
from agg_pipeline.reader import ProposalDatabase, open_proposals
from agg_pipeline.sharded import Json
from agg_pipeline.training.log import LOOKS, STEPS, forget_after
from agg_pipeline.training.loop import CHECKPOINT, Trained, Training, Watch, checkpoint_step, train
from agg_pipeline.training.report import PAGE, PICTURES, write_page
from agg_pipeline.training.samples import Samples, generator
from agg_pipeline.training.source import MaskSource, ReadPixels, check_images, open_source
from agg_pipeline.training.validation import validation_targets
from schemas.config import FinetuneConfig, content_hash, flatten
from schemas.errors import UserError
from schemas.numbers import BINS

ADAPTER, MODEL, PLAN = "adapter.safetensors", "model.safetensors", "training.json"


Finish = Callable[[int, SimpleClick], None]


def _nothing(_step: int, _network: SimpleClick) -> None:
    pass


@dataclass(frozen=True)
class FinetuneOptions:
    """What does not change the weights. roots: of the databases' data sets, by name; "" for the one without."""

    proposals: tuple[str, ...]
    roots: Mapping[str, str]
    checkpoint: str
    out: Path
    resume: bool = False
    overwrite: bool = False
    max_minutes: float | None = None
    checkpoint_minutes: float = 10.0
    validation_masks: int = 12


@dataclass(frozen=True, eq=False)
class Prepared:
    """A training that can begin. validation: masks to look at meanwhile. notes: what a person should know of it."""

    training: Training
    origin: Origin
    validation: tuple[Target, ...]
    notes: tuple[str, ...]
    facts: Json


def prepare(config: FinetuneConfig, options: FinetuneOptions) -> Prepared:
    """Open databases, images and model; UserError, one line, for everything that does not fit together."""
    databases = [open_proposals(path) for path in options.proposals]
    notes = [note for each in databases for note in _weights(each)]
    readers = [_pixels(each, options.roots) for each in databases]
    source = open_source(databases, readers, config.source, config.granularity_definition == "scale")
    check_images(source)
    notes += _empty_bins(source)
    network, info = load_click_model(options.checkpoint, config.augment.size)
    if network.adapter is not None:
        raise UserError(
            f"{options.checkpoint} holds a granularity table already; fine-tuning starts from a click model"
        )
    trained = _attach(network, config)
    origin = Origin(info.sha256, tuple(each.plan["config_hash"] for each in databases), asdict(config))
    identity = {
        "config": content_hash(asdict(replace(config, loaders=0))),
        "base": info.sha256,
        "proposals": content_hash([_content(each) for each in databases]),
        "torch": str(torch.__version__),
    }
    _claim(options, identity, config)
    training = Training(
        network,
        trained,
        Samples(source, config),
        config,
        identity,
        options.out,
        options.resume,
        options.max_minutes,
        options.checkpoint_minutes,
    )
    validation: tuple[Target, ...] = ()
    if options.validation_masks:
        try:
            validation = _validation(databases[0], config, options)
        except UserError as error:
            notes.append(f"no looks at validation masks: {error}")
    return Prepared(training, origin, validation, tuple(notes), _facts(databases, source, info, config))


def finetune(prepared: Prepared, watch: Watch, finish: Finish = _nothing) -> tuple[Trained, Path]:
    """Train, and write what was learnt and the page; how it ended, and the file.

    With LoRA that is an adapter, without (full fine-tuning) a click model with its granularity table. finish: called
    with the last step and the network before the page is written.
    """
    training = prepared.training
    if training.resume:
        forget_after(training.out, checkpoint_step(training.out))
    done = train(training, watch)
    network = training.network
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in done.state.items():
            parameters[name].copy_(value)
    network.eval()
    if training.config.lora:
        path = training.out / ADAPTER
        assert network.adapter is not None
        save_adapter(path, network.adapter, prepared.origin)
    else:
        path = training.out / MODEL
        save_click_model(path, network, half=False)
    finish(done.step, network)
    write_page(training.out, prepared.facts)
    return done, path


def _facts(databases: list[ProposalDatabase], source: MaskSource, info: CheckpointInfo, config: FinetuneConfig) -> Json:
    """What the page says of a training."""
    names = (f"{each.plan['dataset']['name']} ({each.plan['dataset']['split']})" for each in databases)
    masks = sum(source.bins())
    return {
        "data": ", ".join(names),
        "how": f"{masks} masks of {len(source.images)} images; base {info.architecture} ({info.sha256[:12]})",
        "config": flatten(asdict(config)),
    }


def _attach(network: SimpleClick, config: FinetuneConfig) -> frozenset[str]:
    """Give the network what it is to learn; the names of the parameters that are trained."""
    if not config.lora:
        names = {name for name, _ in network.named_parameters()}
    if config.lora or config.granularity:
        rank = config.rank if config.lora else 0
        adapter = Adapter(network.arch.dim, network.arch.depth, rank, config.lora_targets, config.granularity)
        seed = int(generator(config.seed, "adapter").integers(2**63))
        adapter.initialise(torch.Generator().manual_seed(seed))
        attach_adapter(network, adapter)
    ours = {name for name, _ in network.named_parameters() if name.startswith("adapter.")}
    return frozenset(ours if config.lora else ours | names)


def _validation(opened: ProposalDatabase, config: FinetuneConfig, options: FinetuneOptions) -> tuple[Target, ...]:
    """Masks of the split for evaluation of a database's data set."""
    name = opened.plan["dataset"]["name"]
    split = known_dataset(name).evaluation_split
    if split == opened.plan["dataset"]["split"]:
        raise UserError(f"{name} has no split but {split}, which is trained on")
    dataset = open_dataset(name, _root(opened, options.roots), split)
    return validation_targets(dataset, options.validation_masks, config.seed)


def _root(opened: ProposalDatabase, roots: Mapping[str, str]) -> str:
    return roots.get(opened.plan["dataset"]["name"], roots.get("", ""))


def _pixels(opened: ProposalDatabase, roots: Mapping[str, str]) -> ReadPixels:
    name = opened.plan["dataset"]["name"]
    return partial(known_dataset(name).pixels, root_of(name, _root(opened, roots)))


def _weights(opened: ProposalDatabase) -> list[str]:
    """Make a database's sampling weights if it has none; says so."""
    if opened.store.exists(database.SAMPLING_FILE):
        return []
    write_sampling(opened.store)
    return [f"{opened.store.url} had no {database.SAMPLING_FILE}; it has been computed"]


def _empty_bins(source: MaskSource) -> list[str]:
    empty = [f"{number / BINS:.1f}" for number, count in enumerate(source.bins(), start=1) if not count]
    if not empty:
        return []
    return [f"no mask has granularity {', '.join(empty)}: the model learns nothing of it"]


def _content(opened: ProposalDatabase) -> list[Json]:
    """What a database holds: its configuration, and its finished shards."""
    return [{"config": opened.plan["config_hash"]}, *(each["files"] for each in opened.sidecars.values())]


def _claim(options: FinetuneOptions, identity: Json, config: FinetuneConfig) -> None:
    """Make the output folder this training's: refuse another one's, unless it is to be overwritten."""
    out = options.out
    held = [name for name in (CHECKPOINT, PLAN, ADAPTER, MODEL, STEPS, LOOKS, PAGE) if (out / name).exists()]
    if held and not options.resume and not options.overwrite:
        raise UserError(f"{out} holds a training ({held[0]}); --resume goes on with it, --overwrite starts afresh")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not options.resume:
            for name in held:
                (out / name).unlink()
            for strip in (out / PICTURES).glob("step-*.png"):
                strip.unlink()
            (out / PLAN).write_text(json.dumps({"identity": identity, "config": asdict(config)}, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
