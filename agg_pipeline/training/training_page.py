"""The page of a training: what it says in words, curves of loss and IoU, and pictures of validation steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from agg_pipeline.database.description import description
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.images import read_image
from agg_pipeline.figures.svg import webp_uri
from agg_pipeline.report.index_page import index_links
from agg_pipeline.report.templates import filled
from agg_pipeline.storage.local_file import replace_file
from agg_pipeline.storage.store import Store
from agg_pipeline.training.mask_rows import MaskRows
from agg_pipeline.training.training_charts import figures, training_charts, verdict
from agg_pipeline.training.training_datasets import DatasetMixture
from agg_pipeline.training.training_folder import PAGE, PICTURES, STEPS, VALIDATION
from agg_pipeline.training.training_log import read_log
from agg_pipeline.training.validation_pictures import pictures
from schemas.canonical import Json, flatten
from schemas.errors import ImageError
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.models.checkpoints import CheckpointInfo
    from agg_pipeline.models.simpleclick import SimpleClick


def finetuning_facts(
    databases: Sequence[ProposalDatabase], rows: MaskRows, info: CheckpointInfo, config: FinetuneConfig
) -> Json:
    """Describe a fine-tuning for its page.

    Args:
        databases: the proposal databases.
        rows: the masks that are drawn from them.
        info: the base model.
        config: configuration.

    Returns:
        ``data`` and ``how`` in words, and ``config`` by key.
    """
    names = (description(each.plan).data for each in databases)
    masks = f"{plural(len(rows), 'mask')} of {plural(len(rows.images), 'image')}"
    return {
        "data": ", ".join(names),
        "how": f"{masks}; base {info.architecture} ({info.sha256[:12]})",
        "config": flatten(asdict(config)),
    }


def pretraining_facts(mixture: DatasetMixture, network: SimpleClick, base: str, config: PretrainConfig) -> Json:
    """Describe a pre-training for its page.

    Args:
        mixture: the data sets.
        network: the model.
        base: sha256 of the file with the first weights; "" for random weights.
        config: configuration.

    Returns:
        The keys of ``finetuning_facts``.
    """
    shares = [weight / sum(mixture.weights) for weight in mixture.weights]
    sets = (f"{each.name} ({each.split}), {share:.0%}" for each, share in zip(mixture.datasets, shares, strict=True))
    images = sum(len(each.entries) for each in mixture.datasets)
    start = f"starting from the model {base[:12]}" if base else "starting from random weights"
    return {
        "data": ", ".join(sets),
        "how": f"{plural(images, 'image')}; {network.arch.name} at {network.input_size}, {start}",
        "config": flatten(asdict(config)),
    }


def write_page(out: Path, facts: Json) -> None:
    """Write ``training.html``, self-contained, from a folder's logs and pictures.

    Args:
        out: output folder.
        facts: what was trained, and on what.

    Raises:
        UserError: a log is damaged.
        StorageError: a file cannot be read or written.
    """
    steps, validations = read_log(out / STEPS), read_log(out / VALIDATION)
    drawn = list(pictures(out / PICTURES).items())
    shown = drawn if len(drawn) <= 3 else [drawn[0], drawn[len(drawn) // 2], drawn[-1]]
    page = filled(
        "training.html.j2",
        links=index_links(Store(str(out))),
        facts=facts,
        verdict=verdict(validations),
        figures=figures(steps, validations),
        charts=training_charts(steps, validations),
        strips=[(step, _picture(path)) for step, path in reversed(shown)],
    )
    replace_file(out / PAGE, page.encode())


def _picture(path: Path) -> str:
    """A picture of a validation step as a data URI, a tenth of its file's size; "" if it is damaged."""
    try:
        pixels, _ = read_image(Store(str(path.parent)), path.name)
    except ImageError:
        return ""
    return webp_uri(pixels)
