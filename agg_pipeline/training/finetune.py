"""``agg finetune``: granularity-controllable learning (GCL, Section 3.3), prepared step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.models.file_metadata import Origin
from agg_pipeline.training.mask_rows import choose_rows, empty_bin_notes
from agg_pipeline.training.proposal_databases import content, database_notes, datasets_of, open_databases
from agg_pipeline.training.proposal_samples import ProposalMasks, ProposalSamples
from agg_pipeline.training.train_and_save import Prepared
from agg_pipeline.training.trained_model import add_adapter, base_model_notes, load_base_model, save_finetuned
from agg_pipeline.training.training_folder import TrainingOptions, check_folder, claim_folder, training_identity
from agg_pipeline.training.training_images import cache_share, check_images, image_reader
from agg_pipeline.training.training_loop import Training
from agg_pipeline.training.training_methods import Finetuning
from agg_pipeline.training.training_page import finetuning_facts
from agg_pipeline.training.training_processes import choose_devices
from agg_pipeline.training.training_validation import masks_of_evaluation_split, masks_or_note
from schemas.canonical import content_hash
from schemas.training import FinetuneConfig
from schemas.words import plural


@dataclass(frozen=True)
class FinetuneInputs:
    """What a fine-tuning starts from.

    Attributes:
        proposals: paths of the proposal databases.
        roots: roots of their data sets by name; "" for the root without a name.
        checkpoint: file of the click model; "" for the built-in model.
    """

    proposals: tuple[str, ...]
    roots: Mapping[str, str]
    checkpoint: str = ""


def _nothing(_text: str) -> None:
    pass


def prepare(
    config: FinetuneConfig, inputs: FinetuneInputs, options: TrainingOptions, say: Callable[[str], None] = _nothing
) -> Prepared:
    """Load what a fine-tuning needs, check that it fits together, and claim the output folder.

    Args:
        config: configuration.
        inputs: databases, images and model.
        options: output folder, resuming and validation.
        say: called with a line before a step that takes long.

    Returns:
        The training, ready to start.

    Raises:
        UserError: something is missing or does not fit; the output folder is unchanged then.
    """
    training_config, device = choose_devices(config.training)
    config = replace(config, training=training_config)
    databases = open_databases(inputs.proposals, inputs.roots)
    network, info = load_base_model(inputs.checkpoint, config.augment.size)
    check_folder(options, config)
    masks = _open_masks(databases, inputs.roots, config)
    say(f"comparing {plural(len(masks.rows.images), 'image')} with those that the masks were made for")
    check_images(masks.rows.images, masks.readers)

    contents = [content(database) for database in databases]
    data = {"proposals": content_hash(contents)}
    identity = training_identity(config, info.sha256, data, str(torch.__version__))
    claim_folder(options, config, identity)
    samples, trained = ProposalSamples(masks, config), add_adapter(network, config)
    training = Training(network, trained, samples, len(samples), Finetuning(config), config.training, identity, options)
    first = datasets_of(databases[0], inputs.roots)[0]
    find_masks = partial(masks_of_evaluation_split, (first.layout, first.root, first.split), config.training.seed)
    validation, no_validation = masks_or_note(options.validation_masks, find_masks)
    notes = (
        *base_model_notes(databases, inputs.checkpoint, info),
        *(note for database in databases for note in database_notes(database)),
        *empty_bin_notes(masks.rows),
        *no_validation,
    )
    origin = Origin(info.sha256, tuple(content_hash(each) for each in contents), asdict(config))
    save = partial(save_finetuned, options.out, origin)
    facts = finetuning_facts(databases, masks.rows, info, config)
    return Prepared(training, save, validation, notes, facts, device)


def _open_masks(
    databases: Sequence[ProposalDatabase], roots: Mapping[str, str], config: FinetuneConfig
) -> ProposalMasks:
    """The masks that are trained on, with the readers of their images."""
    rows = choose_rows(databases, config.source, config.granularity_definition)
    used = [each for database in databases for each in datasets_of(database, roots)]
    readers = {each.name: image_reader(each.layout, each.root) for each in used}
    return ProposalMasks(databases, readers, rows, cache_share(config.training))
