"""A training step with LoRA, of all weights, and of the plain reference network; and how fast images are checked and
samples made."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from torch import Tensor

from agg_pipeline.cli.config_options import resolve_recipe
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.job import Progress
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter
from agg_pipeline.proposals.run import run
from agg_pipeline.training.finetune import FinetuneInputs, prepare
from agg_pipeline.training.mask_rows import choose_rows
from agg_pipeline.training.proposal_samples import ProposalMasks, ProposalSamples
from agg_pipeline.training.train_and_save import train_and_save
from agg_pipeline.training.training_folder import TrainingOptions
from agg_pipeline.training.training_images import UsedImage, check_images, image_reader, read_pixels
from agg_pipeline.training.training_loop import StepDone
from benchmarks.bench_forward import alternate
from benchmarks.reference import reference_forward
from benchmarks.stub import write_sbd
from schemas.presets import PRESETS
from schemas.resolve import override
from schemas.training import FinetuneConfig
from stages.finetune import normalised_focal_loss

IMAGES = 32


def _step(logits: Tensor, target: Tensor, trained: Sequence[Tensor]) -> Tensor:
    loss = normalised_focal_loss(logits, target).mean()
    torch.autograd.grad(loss, trained)
    return loss


def steps(batch: int, runs: int) -> None:
    """Print milliseconds of forward and backward at 224."""
    torch.set_num_threads(1)
    image, coords = torch.rand(2, batch, 3, 224, 224).unbind()
    target = (torch.rand(batch, 1, 224, 224) > 0.7).float()
    rows = torch.arange(batch) % 10
    adapted, _ = load_click_model(default_checkpoint())
    adapter = Adapter(adapted.arch.dim, adapted.arch.depth)
    adapter.initialise(torch.Generator().manual_seed(0))
    attach_adapter(adapted.requires_grad_(False), adapter)
    whole, _ = load_click_model(default_checkpoint())
    plain = {name: value.detach().requires_grad_() for name, value in whole.state_dict().items()}
    learnt = list(adapter.parameters())
    weights = [value for name, value in whole.named_parameters() if name != "backbone.pos_embed"]
    same = [plain[name] for name, _ in whole.named_parameters() if name != "backbone.pos_embed"]

    def half() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = adapted(image, coords, rows)
        return _step(logits.float(), target, learnt)

    calls = [
        half,
        lambda: _step(adapted(image, coords, rows), target, learnt),
        lambda: _step(whole(image, coords), target, weights),
        lambda: _step(reference_forward(whole.arch, plain, image, coords), target, same),
    ]
    mixed, lora, full, reference = (1e3 * seconds for seconds in alternate(calls, runs))
    print(f"a step (forward and backward) of {batch} samples at 224, one thread, medians of {runs} runs in turns")
    print(f"  with LoRA, bfloat16    {mixed:8.1f} ms   {reference / mixed:.2f} times as fast as the reference")
    print(f"  with LoRA              {lora:8.1f} ms   {reference / lora:.2f}")
    print(f"  all weights            {full:8.1f} ms   {reference / full:.2f}")
    print(f"  reference, all weights {reference:8.1f} ms")


def checking(data: Path, out: Path, images: int) -> None:
    """Print images per second of the check before a training, beside reading them all one after the other."""
    reader = image_reader("sbd", str(data))
    known = choose_rows([open_proposals(str(out))], "agg", "both").images
    used = [known[n % len(known)] for n in range(images)]

    def read_all(images: Sequence[UsedImage]) -> None:
        for image in images:
            read_pixels(image, reader)

    calls = [lambda: check_images(used, {"sbd": reader}), lambda: read_all(used)]
    hashed, read = (images / seconds for seconds in alternate(calls, 3))
    print(f"checking {images} images of 500x375: {hashed:.0f} per second; decoding them in one thread: {read:.0f}")


def loading(data: Path, out: Path, size: int, seconds: float) -> None:
    """Print samples per second of one process, from photographs of 500x375 on disk."""
    cv2.setNumThreads(1)
    databases = [open_proposals(str(out))]
    readers, rows = {"sbd": image_reader("sbd", str(data))}, choose_rows(databases, "agg", "both")
    config = override(FinetuneConfig(), {"augment": {"size": size}})
    made, started = 0, time.perf_counter()
    order = np.random.default_rng(0).permutation(IMAGES)
    while time.perf_counter() - started < seconds:
        # Nothing is kept: every image and shard is read again, as in a set that does not fit into memory.
        samples = ProposalSamples(ProposalMasks(databases, readers, rows), config)
        samples[made // IMAGES, int(order[made % IMAGES])]
        made += 1
    rate = made / (time.perf_counter() - started)
    print(f"samples at {size}: {rate:.1f} per second and core, every image and shard read anew")


class Steps:
    """Keeps the steps of a training."""

    def __init__(self) -> None:
        self.done: list[StepDone] = []

    def __call__(self, done: StepDone, network: SimpleClick) -> None:  # noqa: ARG002
        """A step has been made."""
        self.done.append(done)

    def validate(self, step: int, network: SimpleClick) -> None:
        """Nothing is validated."""

    def close(self) -> None:
        """Nothing to close."""


def waiting(data: Path, out: Path, epochs: int) -> None:
    """Print which share of a training at 224 goes into waiting for its loader."""
    settings = {"epochs": epochs, "threads": 1, "loaders": 1}
    config = resolve_recipe(FinetuneConfig(), "finetune", "demo", settings)
    inputs = FinetuneInputs((str(out),), {"": str(data)}, str(default_checkpoint()))
    prepared = prepare(config, inputs, TrainingOptions(out / "trained", validation_masks=0))
    made = Steps()
    train_and_save(prepared, made)
    first, last = made.done[0], made.done[-1]
    seconds = last.seconds - first.seconds
    share, speed = (last.waited - first.waited) / seconds, (last.samples - first.samples) / seconds
    print(
        f"a training (demo recipe, {last.steps} steps, one thread): {share:.1%} waiting for data, {speed:.1f} "
        f"samples/s, after {first.waited:.1f} s in which the loader starts"
    )


@click.command()
@click.option("--batch", default=8, show_default=True)
@click.option("--runs", default=7, show_default=True)
@click.option("--images", default=1000, show_default=True, help="That are checked.")
@click.option("--seconds", default=20.0, show_default=True, help="Of loading.")
@click.option("--epochs", default=10, show_default=True, help="Of the training, 32 samples each.")
def main(batch: int, runs: int, images: int, seconds: float, epochs: int) -> None:
    """Print all four."""
    steps(batch, runs)
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "sbd", Path(folder) / "out"
        write_sbd(data, IMAGES)
        config = override(PRESETS["paper"], {"predictor": {"input_size": 64}})
        run(
            open_dataset("sbd", str(data), "train"), str(default_checkpoint()), config, RunOptions(str(out)), Progress()
        )
        checking(data, out, images)
        loading(data, out, 448, seconds)
        waiting(data, out, epochs)


if __name__ == "__main__":
    main()
