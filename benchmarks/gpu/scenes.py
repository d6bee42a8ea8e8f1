"""Proposals of generated scenes, without shards and files: the stages of AGG, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from agg_pipeline.demo import render
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model, new_click_model
from agg_pipeline.models.simpleclick import merge_lora
from benchmarks.reference import PlainNetwork
from schemas.config import ProposalsConfig
from schemas.records import Estimate, ImageSummary, Pixels, Query, Target
from stages.batches import batches
from stages.click_model import ClickModel
from stages.complement import add_complements
from stages.granularity import choose_click, estimate
from stages.mask_engine import loop_length, random_click, simulate
from stages.postprocess import postprocess

DEMO, SEED = "demo", 2024
Scenes = tuple[dict[str, Pixels], list[Target]]
"""Pixels by image, and the objects in them."""


class CostlyNetwork(nn.Module):
    """Gives the masks of the built-in model, and computes a larger network beside it, whose weights are random.

    So loops are as long as those of a trained model, and forwards cost what they do for the larger one.
    """

    def __init__(self, architecture: str, size: int, device: str, plain: bool = False) -> None:
        """Load the one and make the other.

        Args:
            architecture: of the larger network.
            size: side of the input of both, pixels.
            device: of both.
            plain: whether both compute like the reference network.
        """
        super().__init__()
        self.input_size = size
        masks, _ = load_click_model(default_checkpoint(), size)
        merge_lora(masks)
        pair = masks.to(device), new_click_model(ARCHITECTURES[architecture], size, 0).to(device)
        self.masks, self.larger = [PlainNetwork(each) if plain else each for each in pair]

    def forward(self, image: Tensor, coords: Tensor, rows: Tensor | None) -> Tensor:
        """Logits (B, 1, H, W) of the built-in model."""
        self.larger(image, coords, rows)
        logits: Tensor = self.masks(image, coords, rows)
        return logits


def scenes(numbers: Sequence[int]) -> Scenes:
    """Draw some scenes."""
    pixels: dict[str, Pixels] = {}
    targets: list[Target] = []
    for number in numbers:
        scene = render(SEED, number)
        height, width = scene.pixels.shape[:2]
        image = ImageSummary(f"demo_{number:06d}", "", height, width, "", "")
        pixels[image.image_id] = scene.pixels
        targets += [Target(image, instance) for instance in scene.objects]
    return pixels, targets


def proposals(drawn: Scenes, model: ClickModel, config: ProposalsConfig) -> list[Estimate]:
    """Make the proposals of scenes, in the batches of a run."""
    pixels, targets = drawn

    def size(target: Target) -> int:
        return target.image.height * target.image.width

    draw = random_click(config.seed, DEMO, config.loop)
    loops = []
    for batch in batches(targets, size, config.batch):
        lengths = [loop_length(config.seed, DEMO, target, config.loop, 0) for target in batch]
        loops += simulate(batch, [pixels[each.image.image_id] for each in batch], lengths, model, config.loop, draw)
    queries: list[Query] = []
    for _, of_target in groupby(loops, lambda loop: loop.target.key):
        found = add_complements(
            postprocess([*of_target], config.masks, config.seed, DEMO), config.masks, config.seed, DEMO
        )
        queries += [Query(found.target, "part", part) for part in found.parts]
        queries += [Query(found.target, "complement", part) for part in found.complements]
    choose = choose_click(config.granularity, config.seed, DEMO)
    estimates: list[Estimate] = []
    for asked in batches(queries, lambda query: size(query.target), config.batch):
        of_batch = [pixels[query.target.image.image_id] for query in asked]
        estimates += estimate(asked, of_batch, model, config.granularity, choose)
    return estimates


def gibibytes(device: str) -> float:
    """Most memory of the device that this process has used."""
    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
