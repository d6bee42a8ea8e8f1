"""GraCo adapter: ten granularity vectors, and low-rank updates (LoRA) of two projections in every attention."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from schemas.errors import UserError
from schemas.limits import ADAPTER_RANK, ADAPTER_WIDTH, PHRASE_NUMBERS
from schemas.numbers import BINS, granularity_bin
from schemas.words import excerpt

ALPHA = 1.0
"""Factor of LoRA's updates, which are also divided by the rank."""
TABLE_KEY = "backbone.gra_embed.weight"
"""Name of the granularity table in a file."""
# The files released in 2025 also hold a second branch, for text phrases; clicks do not use it.
PHRASE_KEY = re.compile(r"backbone\.blocks\.\d+\.attn\.qkv\.lora_[AB]2|phrase_encoder\.phrase2gra_proj\.(weight|bias)")

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Projections = Literal["qk", "qv"]
Shape = tuple[int, ...]
"""Of a tensor."""


def table_row(granularity: float | None, released: bool = False) -> int:
    """Row of the granularity table for a granularity (protocol, section 1).

    Args:
        granularity: in [0, 1], or None.
        released: choose the row as the authors' program does, trunc(clip(10 g - 1, 0, 9)), instead of the nearest.

    Returns:
        0..9, the bin (``schemas.numbers.granularity_bin``) less 1; -1 for None.
    """
    if granularity is None:
        return -1
    if released:
        return int(min(max(10 * granularity - 1, 0.0), 9.0))
    return granularity_bin(granularity) - 1


class Adapter(nn.Module):
    """Granularity table and LoRA of a whole model; ``attach_adapter`` lets a model run with it.

    Args:
        dim: width of the model.
        depth: number of its blocks.
        rank: of LoRA, 0 for no LoRA (an ablation of Table 3).
        projections: which two of query, key and value LoRA updates: "qk" (paper) or "qv" (released files).
        granularity: whether there is a granularity table; without one, the model is an ablation of Table 3.

    Attributes:
        table: (10, dim) float32, or None.
        lora_A: (2 rank, dim) float32 per block. Rows [:rank] belong to the first projection, the others to the second.
        lora_B: (2 dim, rank) float32 per block. Rows [:dim] belong to the first projection, the others to the second.
        phrases: tensors of the second branch of released files, kept but unused.
    """

    table: nn.Parameter | None

    def __init__(
        self, dim: int, depth: int, rank: int = 8, projections: Projections = "qk", granularity: bool = True
    ) -> None:
        super().__init__()
        if projections not in get_args(Projections):
            raise ValueError(f"projections must be 'qk' or 'qv', not {projections!r}")
        self.dim, self.depth, self.rank = dim, depth, rank
        self.projections: Projections = projections
        self.table = nn.Parameter(torch.zeros(BINS, dim)) if granularity else None
        blocks = depth if rank else 0
        self.lora_A = nn.ParameterList(torch.zeros(2 * rank, dim) for _ in range(blocks))
        self.lora_B = nn.ParameterList(torch.zeros(2 * dim, rank) for _ in range(blocks))
        self.phrases: dict[str, Tensor] = {}

    def initialise(self, generator: torch.Generator, table_std: float = 1.0) -> None:
        """Set the parameters for the start of training: A ~ N(0, 1 / rank^2), B = 0 (no update yet).

        Args:
            generator: of the random numbers.
            table_std: standard deviation of the normal distribution of the table.
        """
        with torch.no_grad():
            if self.table is not None:
                self.table.normal_(std=table_std, generator=generator)
            for a, b in zip(self.lora_A, self.lora_B, strict=True):
                a.normal_(std=1 / self.rank, generator=generator)
                b.zero_()

    def embed(self, rows: Tensor) -> Tensor:
        """Vectors that are added to the patch tokens.

        Args:
            rows: of the table, (B,) int64; -1 for a vector of zeros.

        Returns:
            (B, 1, dim) float32.

        Raises:
            ValueError: the adapter has no table.
        """
        if self.table is None:
            raise ValueError("the adapter has no granularity table")
        return (self.table[rows.clamp(min=0)] * (rows >= 0).unsqueeze(1)).unsqueeze(1)

    def update(self, block: int) -> Tensor | None:
        """LoRA's update of the fused qkv weight of a block: alpha / rank B A in two thirds, zero in the other.

        Args:
            block: its index.

        Returns:
            (3 dim, dim) float32; None without LoRA.
        """
        if not self.rank:
            return None
        a = self.lora_A[block].view(2, self.rank, self.dim)
        b = self.lora_B[block].view(2, self.dim, self.rank)
        first, second = (ALPHA / self.rank * torch.bmm(b, a)).unbind()
        untouched = torch.zeros_like(first)
        return torch.cat((first, second, untouched) if self.projections == "qk" else (first, untouched, second))

    def released_state(self) -> dict[str, Tensor]:
        """The tensors under the key names of released files."""
        state = {} if self.table is None else {TABLE_KEY: self.table.detach()}
        for block in range(len(self.lora_A)):
            state[_lora_key(block, "A")] = self.lora_A[block].detach()
            state[_lora_key(block, "B")] = self.lora_B[block].detach()
        return state | self.phrases


def _lora_key(block: int, factor: str) -> str:
    return f"backbone.blocks.{block}.attn.qkv.lora_{factor}"


def is_adapter(names: Collection[str]) -> bool:
    """Whether tensors of these key names are those of an adapter, not of a whole model."""
    ours = TABLE_KEY in names or any(name.endswith(".lora_A") for name in names)
    return ours and "backbone.patch_embed.proj.weight" not in names


def adapter_of_shapes(shapes: Mapping[str, Shape], projections: Projections) -> Adapter:
    """Make the adapter that tensors are of, from their shapes alone.

    Args:
        shapes: of the tensors, by released key names; there may be a phrase branch beside the adapter.
        projections: those that LoRA updates.

    Returns:
        The adapter without its numbers, on the device ``meta``.

    Raises:
        UserError: a key is missing, unexpected or of another shape; the first one is named.
    """
    kept = {key: shape for key, shape in shapes.items() if not PHRASE_KEY.fullmatch(key)}
    depth = sum(key.endswith(".attn.qkv.lora_A") for key in kept)
    table, first = kept.get(TABLE_KEY), kept.get(_lora_key(0, "B"))
    if (table is None and not depth) or (table is not None and len(table) != 2):
        raise UserError(f"not a GraCo adapter: {TABLE_KEY} is missing or not a table")
    if depth and (first is None or len(first) != 2):
        raise UserError(f"not a GraCo adapter: {_lora_key(0, 'B')} is missing or not a matrix")
    dim = table[1] if table is not None else first[0] // 2 if first is not None else 0
    rank = 0 if first is None else first[1]
    if not 1 <= dim <= ADAPTER_WIDTH or rank > ADAPTER_RANK or (depth and not rank):
        raise UserError(f"not a GraCo adapter: it is for a model of width {dim}, and of rank {rank}")
    with torch.device("meta"):
        adapter = Adapter(dim, depth, rank, projections, granularity=table is not None)
    check_shapes(kept, {key: value.shape for key, value in adapter.released_state().items()}, "GraCo adapter")
    phrases = sum(math.prod(shape) for key, shape in shapes.items() if key not in kept)
    if phrases > PHRASE_NUMBERS:
        raise UserError(f"not a GraCo adapter: its branch for phrases has {phrases} numbers")
    return adapter


def adapter_from_state(state: Mapping[str, Tensor], projections: Projections) -> Adapter:
    """Make an adapter of tensors.

    Args:
        state: tensors of any float dtype, by released key names. The phrase branch is kept beside the adapter.
        projections: those that LoRA updates.

    Returns:
        The adapter, float32.

    Raises:
        UserError: a key is missing, unexpected, of another shape or not finite; the first one is named.
    """
    adapter = adapter_of_shapes({key: value.shape for key, value in state.items()}, projections)
    adapter = adapter.to_empty(device="cpu")
    converted = as_float32(state)
    with torch.no_grad():
        for key, value in adapter.released_state().items():
            value.copy_(converted.pop(key))
    adapter.phrases = converted
    return adapter


def check_shapes(shapes: Mapping[str, Shape], expected: Mapping[str, Shape], what: str) -> None:
    """Check that tensors are those of a model.

    Args:
        shapes: of the tensors, by key name.
        expected: shapes by key name, in the order in which they are checked.
        what: name of the model, for the message.

    Raises:
        UserError: a key is missing or has another shape, or else there is an unexpected one; the first one is named.
    """
    for key, shape in expected.items():
        if key not in shapes:
            raise UserError(f"not a {what}: {key} of shape {tuple(shape)} is missing")
        if shapes[key] != shape:
            raise UserError(f"not a {what}: {key} has shape {tuple(shapes[key])} instead of {tuple(shape)}")
    for key in shapes:
        if key not in expected:
            raise UserError(f"not a {what}: unexpected {excerpt(key)} of shape {tuple(shapes[key])}")


def as_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert tensors to float32.

    Args:
        state: tensors by key name.

    Returns:
        The tensors by key name; those of float32 are the same ones.

    Raises:
        UserError: a tensor holds other numbers than floats, or ones that are not finite in float32; the first one is
            named.
    """
    converted = {}
    for key, value in state.items():
        if value.dtype not in FLOATS:
            raise UserError(f"{excerpt(key)} is of {value.dtype}, not of a float type of 16, 32 or 64 bits")
        converted[key] = value.float()
        # One pass over the numbers, and NaN is both the smallest and the largest of them.
        if value.numel() and not all(math.isfinite(end) for end in converted[key].aminmax()):
            raise UserError(f"{excerpt(key)} holds numbers that are not finite")
    return converted
