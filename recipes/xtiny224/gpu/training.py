"""Training on the card: schedule, losses, optimiser and loop."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from agg_pipeline.models.checkpoints import save_click_model
from agg_pipeline.models.simpleclick import SimpleClick
from recipes.xtiny224.gpu.card import Card
from recipes.xtiny224.gpu.clicks import correct, disks
from recipes.xtiny224.gpu.forward import forward, half_precision, predict, validate
from recipes.xtiny224.gpu.samples import Samples, make_samples
from recipes.xtiny224.gpu.teacher import Teacher
from schemas.errors import UserError
from stages.finetune import normalised_focal_loss
from stages.pretrain import cross_entropy_and_dice

DECAY, BETAS, LARGEST_GRADIENT = 0.05, (0.9, 0.99), 1.0
"""Weight decay of matrices and momenta of AdamW, and the norm that gradients are clipped to."""
WARM_UP, LAST_RATE = 200, 0.01
"""Steps in which the rate rises, and its share that is left at the end."""
ROUNDS, ROUNDS_FROM = 3, 0.1
"""Most rounds of corrective clicks before a step, and the share of the time after which there are any."""
TEACHER_WEIGHT, TEACHER_REST = 1.0, 0.05
"""The teacher's weight at the start, less what goes with the time, plus the rest."""
FOCAL_SCALE = 4.0
"""Of the focal loss, whose gradients are smaller."""
AVERAGED = 0.998
"""Share of the moving average of the weights that stays in a step, at most."""
EVERY = 50
"""Steps per row of ``log.csv``."""


@dataclass(frozen=True)
class Plan:
    """Lengths and rates of a training. Its schedule goes by the clock.

    Attributes:
        seconds: length of the training, without loading and the first and last validation.
        max_steps: it ends earlier after this many steps.
        batch: samples per step.
        rate: largest learning rate.
        teacher_until: share of the time in which the teacher teaches.
        focal_from: share of the time after which the loss is the focal loss.
        validate_every: seconds between validations.
    """

    seconds: float
    max_steps: int
    batch: int
    rate: float
    teacher_until: float
    focal_from: float
    validate_every: float


class Table:
    """A CSV file that grows row by row, and is printed."""

    def __init__(self, path: Path, *columns: str) -> None:
        self._path, self._columns = path, columns
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(columns)

    def add(self, *values: str | float) -> None:
        """Add a row; numbers get six digits."""
        cells = [f"{value:.6g}" if isinstance(value, float) else value for value in values]
        with self._path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)
        print(", ".join(f"{name} {cell}" for name, cell in zip(self._columns, cells, strict=True)), flush=True)


def share_of_time(started: float, seconds: float) -> float:
    """The share of a training's time that is over."""
    return (time.perf_counter() - started) / seconds


def rate_at(share: float, step: int, plan: Plan) -> float:
    """Learning rate: half a cosine over the time, which rises in the first steps."""
    rising = min(1.0, (step + 1) / WARM_UP) if share < 0.5 else 1.0
    return plan.rate * rising * (0.5 * (1 + math.cos(math.pi * share)) * (1 - LAST_RATE) + LAST_RATE)


def prompted(model: SimpleClick, samples: Samples, share: float) -> Tensor:
    """Coords of a step, (B, 3, I, I): the first clicks, or corrected predictions after up to three rounds of clicks."""
    rounds = int(torch.randint(0, 1 if share < ROUNDS_FROM else ROUNDS + 1, ()))
    coords = torch.cat([samples.prompt, disks(samples.points)], 1)
    model.eval()
    for _ in range(rounds):
        probability = predict(model, samples.image, coords)
        correct(probability, samples.target, samples.points)
        coords = torch.cat([probability, disks(samples.points)], 1)
    return coords


def losses(
    model: SimpleClick, teacher: Teacher | None, samples: Samples, coords: Tensor, share: float, plan: Plan
) -> tuple[Tensor, Tensor]:
    """Loss of the masks and loss of the teacher's features (0 without a teacher), both averaged over the batch."""
    model.train()
    taught = torch.zeros((), device=coords.device)
    with half_precision(coords.device):
        logits, features = forward(model, samples.image, coords)
        if teacher is not None and share < plan.teacher_until:
            taught = teacher.loss(samples.image, features)
    logits, target = logits.float(), samples.target[:, None].float()
    if share < plan.focal_from:
        return cross_entropy_and_dice(logits, target).mean(), taught
    return (normalised_focal_loss(logits, target) * FOCAL_SCALE).mean(), taught


def teacher_weight(share: float, plan: Plan) -> float:
    """Weight of the teacher's loss: falls to the rest, and is 0 afterwards."""
    return TEACHER_WEIGHT * (1 - share / plan.teacher_until) + TEACHER_REST if share < plan.teacher_until else 0.0


def new_optimiser(parameters: Sequence[nn.Parameter], plan: Plan) -> torch.optim.AdamW:
    """AdamW; biases, norms and the position embedding don't decay."""
    matrix = [each.ndim > 1 and each.shape[0] != 1 for each in parameters]
    groups = [
        {"params": [each for each, decays in zip(parameters, matrix, strict=True) if decays], "weight_decay": DECAY},
        {"params": [each for each, decays in zip(parameters, matrix, strict=True) if not decays], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.rate, betas=BETAS, fused=parameters[0].is_cuda)


def descend(optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], loss: Tensor, rate: float) -> None:
    """Take a step down the gradient of a loss."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
    optimiser.step()


@torch.no_grad()
def renew_average(average: SimpleClick, model: SimpleClick, step: int) -> None:
    """Move the average towards the model: the plain mean at first, later an exponential one."""
    share = 1 - min(AVERAGED, 1 - 1 / (step + 1))
    for kept, value in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(value, share)


def train(model: SimpleClick, teacher: Teacher | None, card: Card, plan: Plan, out: Path) -> None:
    """Train a model and write it as ``model.safetensors``, the moving average of its weights as ``ema.safetensors``.

    Args:
        model: on the card; it is changed.
        teacher: None for none.
        card: photographs and masks.
        plan: lengths and rates.
        out: folder, also of ``log.csv`` and ``validation.csv``.

    Raises:
        UserError: the loss is not finite any more.
    """
    log = Table(out / "log.csv", "step", "samples", "seconds", "loss", "teacher_loss", "rate")
    curve = Table(out / "validation.csv", "seconds", "weights", "set", "masks", "IoU@1", "IoU@3", "IoU@5")

    def show(seconds: float, weights: str, shown: SimpleClick) -> None:
        for name, ious in validate(shown, card).items():
            curve.add(seconds, weights, name, len(card.validation[name]), *ious)

    parameters = [*model.parameters(), *(teacher.heads.parameters() if teacher else ())]
    optimiser = new_optimiser(parameters, plan)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    show(0.0, "start", model)
    started = validated = time.perf_counter()
    step, since = 0, []
    while (share := share_of_time(started, plan.seconds)) < 1 and step < plan.max_steps:
        rate = rate_at(share, step, plan)
        samples = make_samples(card, plan.batch)
        coords = prompted(model, samples, share)
        loss, taught = losses(model, teacher, samples, coords, share, plan)
        descend(optimiser, parameters, loss + taught * teacher_weight(share, plan), rate)
        renew_average(average, model, step)
        step += 1
        since.append(torch.stack([loss.detach(), taught.detach()]))
        if step % EVERY == 0 or step == plan.max_steps:
            mean = torch.stack(since).mean(0).tolist()
            since = []
            log.add(step, step * plan.batch, time.perf_counter() - started, *mean, rate)
            if not math.isfinite(mean[0]):
                raise UserError(f"the loss is not finite after step {step}; try a lower --rate")
        if time.perf_counter() - validated > plan.validate_every:
            show(time.perf_counter() - started, "ema", average)
            save_click_model(out / "last.safetensors", copy.deepcopy(average).cpu())
            validated = time.perf_counter()
    seconds = time.perf_counter() - started
    print(f"{step} steps, {step * plan.batch} samples, {seconds:.0f} seconds", flush=True)
    for weights, name, trained in (("last", "model", model), ("ema", "ema", average)):
        show(seconds, weights, trained)
        save_click_model(out / f"{name}.safetensors", copy.deepcopy(trained).cpu().eval())
