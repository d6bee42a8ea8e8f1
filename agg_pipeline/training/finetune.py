"""``agg finetune``: granularity-controllable learning, from proposal databases and a click model to an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from agg_pipeline.database.contents import SAMPLING_FILE
from agg_pipeline.database.reader import ProposalDatabase, open_proposals
from agg_pipeline.database.sampling import write_sampling
from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.datasets.registry import known_dataset, open_dataset, root_of
from agg_pipeline.execution.shard_files import damage
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.checkpoints import CheckpointInfo, Origin, load_click_model, save_adapter, save_click_model
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter
from agg_pipeline.training.loop import Training
from agg_pipeline.training.run import Prepared, claim, comparable
from agg_pipeline.training.samples import Samples
from agg_pipeline.training.source import MaskSource, ReadPixels, check_images, open_source
from agg_pipeline.training.training_folder import ADAPTER, MODEL
from agg_pipeline.training.training_options import TrainingOptions
from agg_pipeline.training.training_step import Loss
from agg_pipeline.training.validation_masks import validation_targets
from schemas.canonical import Json, content_hash, flatten
from schemas.errors import StorageError, UserError
from schemas.numbers import BINS
from schemas.training import FinetuneConfig
from stages.draws import generator
from stages.finetune import normalised_focal_loss


@dataclass(frozen=True)
class Finetuning:
    """Adam at a constant rate, divided once; the normalised focal loss (protocol, section 5)."""

    config: FinetuneConfig

    def optimizer(self, learning: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """Adam with its usual betas; the granularity vectors have a rate of their own."""
        table = [value for name, value in learning.items() if name == "adapter.table"]
        rest = [value for name, value in learning.items() if name != "adapter.table"]
        lr = self.config.training.lr
        groups = [{"params": rest, "highest": lr}, {"params": table, "highest": self.config.table_lr or lr}]
        return torch.optim.Adam([each for each in groups if each["params"]], lr=lr)

    def share(self, epoch: float) -> float:
        """All of it, and ``decay`` of it from ``decay_epoch`` on."""
        return self.config.decay if epoch >= self.config.decay_epoch else 1.0

    def loss(self, _epoch: float) -> tuple[Loss, int]:
        """The same all the time."""
        return normalised_focal_loss, self.config.training.max_rounds

    @property
    def max_norm(self) -> float:
        """Gradients are not limited."""
        return 0.0


@dataclass(frozen=True)
class Inputs:
    """What a fine-tuning starts from. roots: of the databases' data sets, by name; "" for the one without."""

    proposals: tuple[str, ...]
    roots: Mapping[str, str]
    checkpoint: str


def _nothing(_text: str) -> None:
    pass


def prepare(
    config: FinetuneConfig, inputs: Inputs, options: TrainingOptions, say: Callable[[str], None] = _nothing
) -> Prepared:
    """Open databases, images and model; UserError, one line, for everything that does not fit together.

    say: told what takes long.
    """
    databases = _databases(inputs)
    notes = [note for each in databases for note in (*_unfinished(each), *_weights(each))]
    readers = [_pixels(each, inputs.roots) for each in databases]
    source = open_source(databases, readers, config.source, config.granularity_definition == "scale")
    say(f"checking that {len(source.images)} images are those that the masks were made for")
    check_images(source)
    notes += _empty_bins(source)
    network, info = load_click_model(inputs.checkpoint, config.augment.size)
    if network.adapter is not None:
        raise UserError(f"{inputs.checkpoint} holds a granularity table already; fine-tuning starts from a click model")
    trained = _attach(network, config)
    origin = Origin(info.sha256, tuple(content_hash(_content(each)) for each in databases), asdict(config))
    identity = {
        "config": content_hash(comparable(config)),
        "base": info.sha256,
        "proposals": content_hash([_content(each) for each in databases]),
        "torch": str(torch.__version__),
    }
    claim(options, identity, config)
    samples = Samples(source, config)
    training = Training(
        network,
        trained,
        samples,
        len(samples),
        Finetuning(config),
        config.training,
        identity,
        options,
    )
    validation: tuple[EvaluatedMask, ...] = ()
    if options.validation_masks:
        try:
            validation = _validation(databases[0], config.training.seed, inputs.roots, options.validation_masks)
        except UserError as error:
            notes.append(f"no looks at validation masks: {error}")
    facts = _facts(databases, source, info, config)
    return Prepared(training, partial(_save, options.out, origin), validation, tuple(notes), facts)


def _databases(inputs: Inputs) -> list[ProposalDatabase]:
    """The databases, intact and each only once; UserError else, or if a named root belongs to none of them."""
    databases = [open_proposals(path) for path in inputs.proposals]
    for opened in databases:
        described = opened.plan["dataset"]
        if not isinstance(described, dict) or not {"name", "split"} <= set(described):
            raise UserError(f"{opened.store.url}/plan.json does not say which data set it is of")
        damaged = [text for sidecar in opened.sidecars.values() for text in damage(opened.store, sidecar)]
        if damaged:
            how = "agg proposals validate lists all, and the run that made it makes damaged shards again"
            raise UserError(f"{opened.store.url} is damaged: {damaged[0]}; {how}")
    hashes = [content_hash(_content(each)) for each in databases]
    if len(set(hashes)) < len(hashes):
        raise UserError("the same proposal database is given twice")
    strangers = set(inputs.roots) - {""} - {each.plan["dataset"]["name"] for each in databases}
    if strangers:
        raise UserError(f"--data names {sorted(strangers)[0]!r}, but no proposal database is of that data set")
    return databases


def _unfinished(opened: ProposalDatabase) -> list[str]:
    shards, finished = len(opened.plan["shards"]), len(opened.sidecars)
    if finished == shards:
        return []
    return [f"{opened.store.url} is not finished: it has {finished} of {shards} shards, which are trained on"]


def _save(out: Path, origin: Origin, network: SimpleClick) -> Path:
    """With LoRA an adapter, without (full fine-tuning) a click model with its granularity table."""
    if network.adapter is not None and network.adapter.rank:
        path = out / ADAPTER
        save_adapter(path, network.adapter, origin)
    else:
        path = out / MODEL
        save_click_model(path, network, half=False, origin=origin)
    return path


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
        seed = int(generator(config.training.seed, "adapter").integers(2**63))
        adapter.initialise(torch.Generator().manual_seed(seed), config.table_std)
        attach_adapter(network, adapter)
    ours = {name for name, _ in network.named_parameters() if name.startswith("adapter.")}
    return frozenset(ours if config.lora else ours | names)


def _validation(opened: ProposalDatabase, seed: int, roots: Mapping[str, str], masks: int) -> tuple[EvaluatedMask, ...]:
    """Masks of the split for evaluation of a database's data set."""
    name = opened.plan["dataset"]["name"]
    split = known_dataset(name).evaluation_split
    if split == opened.plan["dataset"]["split"]:
        raise UserError(f"{name} has no split but {split}, which is trained on")
    return validation_targets(open_dataset(name, _root(opened, roots), split), masks, seed)


def _root(opened: ProposalDatabase, roots: Mapping[str, str]) -> str:
    return roots.get(opened.plan["dataset"]["name"], roots.get("", ""))


def _pixels(opened: ProposalDatabase, roots: Mapping[str, str]) -> ReadPixels:
    name = opened.plan["dataset"]["name"]
    return partial(known_dataset(name).pixels, root_of(name, _root(opened, roots)))


def _weights(opened: ProposalDatabase) -> list[str]:
    """Make a database's sampling weights if it has none; says so."""
    if opened.store.exists(SAMPLING_FILE):
        return []
    try:
        write_sampling(opened.store, opened.sidecars)
    except (StorageError, OSError):
        # Training computes the weights of its own choice of rows in any case.
        return [f"{opened.store.url} has no {SAMPLING_FILE} and cannot be written; computed for this training"]
    return [f"{opened.store.url} had no {SAMPLING_FILE}; it has been computed"]


def _empty_bins(source: MaskSource) -> list[str]:
    empty = [f"{number / BINS:.1f}" for number, count in enumerate(source.bins(), start=1) if not count]
    if not empty:
        return []
    return [f"no mask has granularity {', '.join(empty)}: the model learns nothing of it"]


def _content(opened: ProposalDatabase) -> list[Json]:
    """What a database holds: its configuration, and its finished shards."""
    return [{"config": opened.plan["config_hash"]}, *(each["files"] for each in opened.sidecars.values())]
