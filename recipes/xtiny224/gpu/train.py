"""Train the click model on one GPU: ``python -m recipes.xtiny224.gpu.train --pack pack --out run``.

Photographs, masks, samples and clicks stay on the card. The defaults are those of the recorded training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import torch

from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.backend import choose_device
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model, new_click_model
from agg_pipeline.models.simpleclick import SimpleClick
from recipes.xtiny224.gpu.card import load
from recipes.xtiny224.gpu.samples import INPUT
from recipes.xtiny224.gpu.teacher import Teacher
from recipes.xtiny224.gpu.training import Plan, train
from schemas.errors import UserError


def first_model(start: str, seed: int) -> SimpleClick:
    """The model that a training starts from: a file, or random weights for ``new:ARCHITECTURE``."""
    if not start.startswith("new:"):
        return load_click_model(start, INPUT)[0]
    name = start.removeprefix("new:")
    if name not in ARCHITECTURES:
        raise UserError(f"unknown architecture {name!r}; possible: {', '.join(ARCHITECTURES)}")
    return new_click_model(ARCHITECTURES[name], INPUT, seed)


@click.command()
@click.option(
    "--pack", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the pack."
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
@click.option("--start", default=str(default_checkpoint()), help="Model file, or new:xtiny. Default: the built-in one.")
@click.option("--teacher/--no-teacher", default=True, show_default=True, help="Learn EfficientNet-Lite0's features.")
@click.option("--seconds", default=460.0, show_default=True, help="Length of the training.")
@click.option("--max-steps", default=10**9, help="Steps after which it ends earlier. Default: no limit.")
@click.option("--batch", default=256, show_default=True, help="Samples per step.")
@click.option("--rate", default=1.5e-3, show_default=True, help="Largest learning rate.")
@click.option("--teacher-until", default=0.6, show_default=True, help="Share of the time in which the teacher teaches.")
@click.option("--focal-from", default=0.85, show_default=True, help="Share of the time before the focal loss.")
@click.option("--validate-every", default=90.0, show_default=True, help="Seconds between validations.")
@click.option("--seed", default=0, show_default=True, help="Seed of all draws.")
@click.option("--device", default="cuda", show_default=True, help="cuda or cpu.")
def main(
    pack: Path,
    out: Path,
    start: str,
    teacher: bool,
    seconds: float,
    max_steps: int,
    batch: int,
    rate: float,
    teacher_until: float,
    focal_from: float,
    validate_every: float,
    seed: int,
    device: str,
) -> None:
    """Train a click model on a pack, and write the model, its moving average and two tables to a folder."""
    place = torch.device(choose_device(device).name)
    if place.type == "cuda":
        # Speed matters more here than the same bits.
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan(seconds, max_steps, batch, rate, teacher_until, focal_from, validate_every)
    model = first_model(start, seed).to(place).float()
    taught_by = Teacher(model.arch.dim, place) if teacher else None
    train(model, taught_by, load(pack, place), plan, out)
    if place.type == "cuda":
        print(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the card's memory at most")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
