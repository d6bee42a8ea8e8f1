"""``agg pretrain``: a click model that segments whole objects, from images with object masks, prepared step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch

from agg_pipeline.training.object_samples import ObjectSamples
from agg_pipeline.training.train_and_save import Prepared
from agg_pipeline.training.trained_model import load_base_model, new_base_model, parameter_names, save_pretrained
from agg_pipeline.training.training_datasets import DatasetChoice, DatasetMixture, open_datasets
from agg_pipeline.training.training_folder import TrainingOptions, check_folder, claim_folder, training_identity
from agg_pipeline.training.training_images import cache_share
from agg_pipeline.training.training_loop import Training
from agg_pipeline.training.training_methods import Pretraining
from agg_pipeline.training.training_page import pretraining_facts
from agg_pipeline.training.training_processes import choose_devices
from agg_pipeline.training.training_validation import masks_or_note, objects_of_other_images
from schemas.canonical import content_hash
from schemas.training import PretrainConfig


@dataclass(frozen=True)
class PretrainInputs:
    """What a pre-training starts from.

    Attributes:
        data: name, root and split of every data set.
        weights: how often each is drawn from; none at all for equal weights.
        checkpoint: file of the click model; "" for random weights.
    """

    data: tuple[DatasetChoice, ...]
    weights: tuple[float, ...] = ()
    checkpoint: str = ""


def prepare(config: PretrainConfig, inputs: PretrainInputs, options: TrainingOptions) -> Prepared:
    """Load what a pre-training needs, check that it fits together, and claim the output folder.

    Args:
        config: configuration.
        inputs: data sets and model.
        options: output folder, resuming and validation.

    Returns:
        The training, ready to start.

    Raises:
        UserError: something is missing or does not fit; the output folder is unchanged then.
    """
    training_config, device = choose_devices(config.training)
    config = replace(config, training=training_config)
    datasets = open_datasets(inputs.data)
    mixture = DatasetMixture(datasets, inputs.weights, cache_share(config.training))
    if inputs.checkpoint:
        network, info = load_base_model(inputs.checkpoint, config.augment.size)
        base = info.sha256
    else:
        network, base = new_base_model(config), ""
    config = replace(config, architecture=network.arch.name)
    check_folder(options, config)

    sets = [[dataset.name, dataset.split, dataset.fingerprint] for dataset in datasets]
    data = {"data": content_hash([*sets, mixture.weights])}
    identity = training_identity(config, base, data, str(torch.__version__))
    claim_folder(options, config, identity)
    samples, trained = ObjectSamples(mixture, config), parameter_names(network)
    training = Training(
        network, trained, samples, len(samples), Pretraining(config), config.training, identity, options
    )
    find_masks = partial(objects_of_other_images, inputs.data, datasets, config.training.seed)
    validation, no_validation = masks_or_note(options.validation_masks, find_masks)
    return Prepared(
        training,
        partial(save_pretrained, options.out),
        validation,
        notes=no_validation,
        facts=pretraining_facts(mixture, network, base, config),
        device=device,
    )
