"""GraCo adapter: ten granularity vectors and low-rank updates (LoRA) of two projections of every block's attention."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from schemas.errors import UserError
from schemas.numbers import BINS, granularity_bin

ALPHA = 1.0
TABLE_KEY = "backbone.gra_embed.weight"
# The 2025 release also holds a second branch, for text phrases; it takes no part in clicks.
PHRASE_KEY = re.compile(r"backbone\.blocks\.\d+\.attn\.qkv\.lora_[AB]2|phrase_encoder\.phrase2gra_proj\.(weight|bias)")

Projections = Literal["qk", "qv"]


def table_row(granularity: float | None, released: bool = False) -> int:
    """Row 0..9 of the granularity table for a granularity in [0, 1], -1 for None (protocol, section 1).

    The bin (``schemas.numbers.granularity_bin``) less 1; released: trunc(clip(10 g - 1, 0, 9)).
    """
    if granularity is None:
        return -1
    if released:
        return int(min(max(10 * granularity - 1, 0.0), 9.0))
    return granularity_bin(granularity) - 1


class Adapter(nn.Module):
    """Granularity table and LoRA of a whole model; see ``attach_adapter``.

    projections: the two thirds of the fused qkv projection that are updated: "qk" (paper) or "qv" (released files).
    rank: 0 for no LoRA. granularity: whether there is a table; without one (or without LoRA) the model is one of the
    ablations of Table 3. Parameters, float32: table (10, dim); per block lora_A (2 rank, dim) and lora_B (2 dim, rank).
    Rows [:rank] of A belong to rows [:dim] of B and the first projection, the others to the second.
    phrases: the second branch of released files, kept as it is; no click makes use of it.
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
        """Start of training: A Gaussian with std 1/rank, B zero (no update yet), table N(0, table_std^2)."""
        with torch.no_grad():
            if self.table is not None:
                self.table.normal_(std=table_std, generator=generator)
            for a, b in zip(self.lora_A, self.lora_B, strict=True):
                a.normal_(std=1 / self.rank, generator=generator)
                b.zero_()

    def embed(self, rows: Tensor) -> Tensor:
        """Vectors added to the patch tokens: int64 rows of the table (B,), -1 for none (zeros), to (B, 1, dim)."""
        if self.table is None:
            raise ValueError("the adapter has no granularity table")
        return (self.table[rows.clamp(min=0)] * (rows >= 0).unsqueeze(1)).unsqueeze(1)

    def update(self, block: int) -> Tensor | None:
        """What is added to the block's fused qkv weight, (3 dim, dim): alpha / rank B A, zero for one third; None for
        nothing."""
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


def is_adapter_state(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors are an adapter's and not a whole model's."""
    ours = TABLE_KEY in state or any(key.endswith(".lora_A") for key in state)
    return ours and "backbone.patch_embed.proj.weight" not in state


def adapter_from_state(state: Mapping[str, Tensor], projections: Projections) -> Adapter:
    """Adapter from tensors under released key names, of any float dtype; the phrase branch is kept beside it.

    Raises UserError naming the first key that is missing, unexpected, of another shape or not finite.
    """
    kept = {key: value for key, value in state.items() if not PHRASE_KEY.fullmatch(key)}
    depth = sum(key.endswith(".attn.qkv.lora_A") for key in kept)
    table, first = kept.get(TABLE_KEY), kept.get(_lora_key(0, "B"))
    if (table is None and not depth) or (table is not None and table.ndim != 2):
        raise UserError(f"not a GraCo adapter: {TABLE_KEY} is missing or not a table")
    if depth and (first is None or first.ndim != 2):
        raise UserError(f"not a GraCo adapter: {_lora_key(0, 'B')} is missing or not a matrix")
    dim = table.shape[1] if table is not None else first.shape[0] // 2 if first is not None else 0
    adapter = Adapter(dim, depth, 0 if first is None else first.shape[1], projections, granularity=table is not None)
    expected = adapter.released_state()
    check_tensors(kept, {key: value.shape for key, value in expected.items()}, "adapter")
    with torch.no_grad():
        for key, value in expected.items():
            if not bool(kept[key].isfinite().all()):
                raise UserError(f"{key} holds numbers that are not finite")
            value.copy_(kept[key])
    adapter.phrases = {key: value for key, value in state.items() if key not in kept}
    return adapter


def check_tensors(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size], what: str) -> None:
    """Raise UserError for the first key, in the order of ``expected``, that is missing or has another shape.

    If there is none, for the first unexpected key.
    """
    for key, shape in expected.items():
        if key not in state:
            raise UserError(f"not a {what}: {key} of shape {tuple(shape)} is missing")
        if state[key].shape != shape:
            raise UserError(f"not a {what}: {key} has shape {tuple(state[key].shape)} instead of {tuple(shape)}")
    for key in state:
        if key not in expected:
            raise UserError(f"not a {what}: unexpected {key} of shape {tuple(state[key].shape)}")
