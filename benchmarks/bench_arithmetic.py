"""What TF32 and bfloat16 change in a database: ``python -m benchmarks.bench_arithmetic [--images 24]``.

The same images go through all stages with float32, TF32 and bfloat16, and every mask is compared with that of the same
object and step with float32. So are those of float32 with batches of one object, where products are summed in another
order: no arithmetic can be closer than that. A GPU computes with TF32 itself. On a CPU it is imitated: what goes into a
product or a convolution is rounded to ten bits, as TF32 does, and the sums are those of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import click
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.backend import choose_device, set_backend_flags
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model
from agg_pipeline.proposals.pipeline import chain
from schemas.config import ProposalsConfig
from schemas.crop import iou
from schemas.presets import PRESETS
from schemas.records import Estimate, Proposal
from schemas.resolve import override

SAME_MASK = 0.99
"""IoU from which two masks count as the same."""
SAME_GRANULARITY = 0.02
"""Difference up to which two granularities count as the same."""
PRODUCTS = (F.linear, F.conv2d, F.conv_transpose2d, torch.matmul, torch.bmm, F.scaled_dot_product_attention)
Key = tuple[str, int, str, int | str]


class ImitatedTF32(TorchFunctionMode):
    """Rounds what goes into products to ten bits of mantissa."""

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The result of a function of torch."""
        if func in PRODUCTS:
            # The inputs come first; a bias is added in float32.
            inputs = 3 if func is F.scaled_dot_product_attention else 2
            args = [*map(_rounded, args[:inputs]), *args[inputs:]]
        return func(*args, **(kwargs or {}))


def _rounded(values: Tensor) -> Tensor:
    if values.dtype != torch.float32:
        return values
    # To the nearest: half of the last of the ten bits is added, and the 13 bits below are cut off.
    return ((values.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@contextmanager
def _tf32_of_gpu() -> Iterator[None]:
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        set_backend_flags()


@dataclass(frozen=True)
class Changes:
    """What an arithmetic changes.

    Attributes:
        ious: IoU of each mask of float32 with its counterpart; 0 if there is none.
        differences: absolute differences of granularity of the masks that both have.
        extra: masks that float32 does not have.
    """

    ious: NDArray[np.float64]
    differences: NDArray[np.float64]
    extra: int


def estimates(predictor: Predictor, dataset: Dataset, config: ProposalsConfig) -> dict[Key, Estimate]:
    """All masks that a predictor makes of a data set, by image, object, kind and step."""
    shard = run_stages(
        chain(config).stages, ShardTask(0, dataset.name, dataset.entries, dataset.read, config), predictor
    )
    return {_key(each): each for each in shard.estimates}


def _key(estimate: Estimate) -> Key:
    query, part = estimate.query, estimate.query.part
    image, instance = query.target.key
    return image, instance, query.kind, part.step if isinstance(part, Proposal) else part.part_id


def changes(exact: Mapping[Key, Estimate], other: Mapping[Key, Estimate]) -> Changes:
    """Compare the masks of two runs."""
    both = [key for key in exact if key in other]
    ious = {key: iou(exact[key].mask, other[key].mask) for key in both}
    return Changes(
        np.array([ious.get(key, 0.0) for key in exact]),
        np.array([abs(exact[key].granularity - other[key].granularity) for key in both]),
        len(set(other) - set(exact)),
    )


def table(found: Mapping[str, Changes]) -> list[str]:
    """A Markdown table."""
    lines = [
        "| | masks with IoU >= 0.99 | IoU >= 0.9 | granularities within 0.02 | median difference | 99 % below "
        "| masks without counterpart | further masks |",
        "|" + " --- |" * 8,
    ]
    for name, each in found.items():
        same, near = (each.ious >= SAME_MASK).mean(), (each.ious >= 0.9).mean()
        within = (each.differences <= SAME_GRANULARITY).mean()
        half, most = np.quantile(each.differences, (0.5, 0.99))
        lost = len(each.ious) - len(each.differences)
        lines.append(
            f"| {name} | {same:.1%} | {near:.1%} | {within:.1%} | {half:.2g} | {most:.2g} | {lost} | {each.extra} |"
        )
    return lines


def compare(dataset: Dataset, device: str, preset: str, size: int | None) -> tuple[int, dict[str, Changes]]:
    """Number of masks with float32, and what the others change."""
    set_backend_flags()
    model, _ = load_click_model(default_checkpoint(), size)
    model = model.to(device)
    exact: dict[Key, Estimate] = {}
    found: dict[str, Changes] = {}
    tf32: Callable[[], AbstractContextManager[Any]] = ImitatedTF32 if device == "cpu" else _tf32_of_gpu
    for name, around, options in (
        ("float32", nullcontext, {}),
        ("float32, one object at a time", nullcontext, {"batch": {"batch_objects": 1}}),
        ("TF32", tf32, {}),
        ("bfloat16", nullcontext, {"predictor": {"dtype": "bfloat16"}}),
    ):
        config = override(PRESETS[preset], options)
        with around():
            made = estimates(Predictor(model, config.predictor), dataset, config)
        if name == "float32":
            exact = made
        else:
            found[name] = changes(exact, made)
    return len(exact), found


@click.command()
@click.option("--images", default=24, show_default=True, help="Generated scenes.")
@click.option("--size", type=int, help="Side of the network's input, pixels; default: that of the model.")
@click.option("--preset", default="paper", show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(images: int, size: int | None, preset: str, device: str) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chosen = choose_device(device)
    masks, found = compare(open_dataset("demo", "", str(images)), chosen.name, preset, size)
    imitated = "; TF32 imitated" if chosen.name == "cpu" else ""
    print(f"built-in model on {chosen}{imitated}, {images} images, {preset} preset, {masks} masks with float32\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
