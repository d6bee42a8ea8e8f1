"""The page of a training: what it says in words, curves of loss and IoU, and pictures of validation steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agg_pipeline.database.description import description
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.report.plots import new_figure, png, png_uri
from agg_pipeline.report.templates import filled
from agg_pipeline.storage.local_file import read_file, replace_file
from agg_pipeline.training.mask_rows import MaskRows
from agg_pipeline.training.training_datasets import DatasetMixture
from agg_pipeline.training.training_folder import PAGE, PICTURES, STEPS, VALIDATION
from agg_pipeline.training.training_log import IOU_COLUMNS, read_log
from agg_pipeline.training.validation_pictures import pictures
from schemas.canonical import Json, flatten
from schemas.limits import IMAGE_FILE_BYTES
from schemas.numbers import GRANULARITIES
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.models.checkpoints import CheckpointInfo
    from agg_pipeline.models.simpleclick import SimpleClick

SMOOTHED = 25
"""Steps over which the loss is averaged in the chart."""


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
    drawn = list(pictures(out / PICTURES).items())
    shown = drawn if len(drawn) <= 3 else [drawn[0], drawn[len(drawn) // 2], drawn[-1]]
    page = filled(
        "training.html.j2",
        facts=facts,
        chart=_chart(out),
        strips=[(step, png_uri(read_file(path, IMAGE_FILE_BYTES))) for step, path in shown],
    )
    replace_file(out / PAGE, page.encode())


def _chart(out: Path) -> str:
    """Loss by step, and IoU after one click by granularity for every validation step, as a data URI."""
    steps, validations = read_log(out / STEPS), read_log(out / VALIDATION)
    levels = list(dict.fromkeys(row["level"] for row in validations))
    figure = new_figure(13, 3.8)
    left, *others = np.atleast_1d(np.asarray(figure.subplots(1, 1 + len(levels)), object))
    losses = np.array([float(row["loss"]) for row in steps])
    width = min(SMOOTHED, len(losses))
    if width:
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        left.plot([int(row["step"]) for row in steps[width - 1 :]], smooth, color="#2f8cff")
    left.set_xlabel("step")
    left.set_ylabel(f"loss, mean of {plural(width, 'step')}")
    for axes, level in zip(others, levels, strict=True):
        own = [row for row in validations if row["level"] == level]
        for number, row in enumerate(own):
            values = [float(row[name]) for name in IOU_COLUMNS if row[name]]
            x = GRANULARITIES if len(values) == len(GRANULARITIES) else GRANULARITIES[-1:]
            shade = 0.25 + 0.75 * (number + 1) / len(own)
            axes.plot(x, values, "o-", color="#b02a30", alpha=shade, label=f"step {row['step']}", markersize=3)
        axes.set_xlabel("granularity")
        axes.set_ylabel(f"IoU@1 of {own[-1]['masks']} {level}s")
        axes.legend(frameon=False, fontsize=7)
    for axes in (left, *others):
        axes.spines[["top", "right"]].set_visible(False)
    return png_uri(png(figure))
