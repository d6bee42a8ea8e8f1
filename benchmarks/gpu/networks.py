"""Forward and training step on one device, by arithmetic and batch; weights are random, which costs as much."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model, new_click_model
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter
from stages.finetune import normalised_focal_loss

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ARITHMETIC = ("float32", "TF32", "bfloat16")
FORWARDS = (("xtiny", 224), ("base", 448))
BATCHES = (1, 2, 4, 8, 16, 32, 64)
STEPS = (("base", 448, (8, 32)), ("xtiny", 224, (16, 128)))
Row = list[str | int | float | None]


@contextmanager
def arithmetic(name: str) -> Iterator[None]:
    """Compute with float32, TF32 or, by autocast, bfloat16."""
    torch.set_float32_matmul_precision("high" if name == "TF32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "TF32"
    with torch.autocast(DEVICE, torch.bfloat16, enabled=name == "bfloat16"):
        yield


def milliseconds(call: Callable[[], object], seconds: float) -> float:
    """Mean milliseconds of a call that is repeated for some seconds, after three calls to warm up."""

    def several(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    once = several(3) / 3
    count = max(1, round(seconds / once))
    return 1e3 * several(count) / count


def difference() -> list[Row]:
    """Largest difference of the built-in model's logits from the CPU's in float32, and the largest logit."""
    torch.manual_seed(0)
    model, _ = load_click_model(default_checkpoint())
    image, coords = torch.rand(2, 4, 3, model.input_size, model.input_size).unbind()
    rows: list[Row] = []
    with torch.inference_mode():
        with arithmetic("float32"):
            exact = model(image, coords)
        model.to(DEVICE)
        for name in ARITHMETIC:
            with arithmetic(name):
                other = model(image.to(DEVICE), coords.to(DEVICE)).float().cpu()
            rows.append([name, float((other - exact).abs().max()), float(exact.abs().max())])
    return rows


def forwards(miniature: bool, seconds: float) -> list[Row]:
    """Milliseconds and images per second of forwards without gradients."""
    rows: list[Row] = []
    for name, size in FORWARDS[:1] if miniature else FORWARDS:
        for how in ARITHMETIC:
            model = new_click_model(ARCHITECTURES[name], size, 0).to(DEVICE)
            for batch in (1,) if miniature else BATCHES:
                image, coords = torch.rand(2, batch, 3, size, size, device=DEVICE).unbind()
                with torch.inference_mode(), arithmetic(how):
                    spent = milliseconds(lambda: model(image, coords), seconds)  # noqa: B023
                rows.append([name, size, how, batch, spent, 1e3 * batch / spent])
    return rows


def _trained(name: str, size: int, lora: bool) -> SimpleClick:
    model = new_click_model(ARCHITECTURES[name], size, 0)
    if lora:
        adapter = Adapter(model.arch.dim, model.arch.depth)
        adapter.initialise(torch.Generator().manual_seed(0))
        attach_adapter(model.requires_grad_(False), adapter)
    return model.to(DEVICE).train()


def steps(miniature: bool, seconds: float) -> list[Row]:
    """Milliseconds, samples per second and peak GiB of a forward with its gradients."""
    rows: list[Row] = []
    for name, size, batches in STEPS[1:] if miniature else STEPS:
        for how in ARITHMETIC:
            for lora in (True, False):
                for batch in (2,) if miniature else batches:
                    model = _trained(name, size, lora)
                    learnt = [
                        each for key, each in model.named_parameters() if each.requires_grad and "pos_embed" not in key
                    ]
                    image, coords = torch.rand(2, batch, 3, size, size, device=DEVICE).unbind()
                    bins = torch.arange(batch, device=DEVICE) % 10 if lora else None
                    target = (torch.rand(batch, 1, size, size, device=DEVICE) > 0.7).float()

                    def step() -> None:
                        with arithmetic(how):  # noqa: B023
                            logits = model(image, coords, bins)  # noqa: B023
                        loss = normalised_focal_loss(logits.float(), target).mean()  # noqa: B023
                        torch.autograd.grad(loss, learnt)  # noqa: B023

                    if DEVICE == "cuda":
                        torch.cuda.reset_peak_memory_stats()
                    spent = milliseconds(step, seconds)
                    peak = torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else 0.0
                    what = "LoRA" if lora else "all weights"
                    rows.append([name, size, how, what, batch, spent, 1e3 * batch / spent, peak])
    return rows
