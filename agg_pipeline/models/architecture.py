"""Sizes of the SimpleClick models (protocol, section 1)."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 224
"""Side of an attention window, in pixels of the input."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of a SimpleClick model (protocol, section 1).

    Args:
        name: of the architecture.
        dim: width of the transformer.
        depth: number of its blocks.
        heads: of the attention.
        patch: side of a patch, in pixels.
        neck_out: channels of the pyramid's maps of 1/4, 1/8, 1/16 and 1/32.
        head_channels: of the head.
        input_size: side of the square input that it is published for, in pixels.
    """

    name: str
    dim: int
    depth: int
    heads: int
    patch: int
    neck_out: tuple[int, int, int, int]
    head_channels: int
    input_size: int = 448

    @property
    def global_blocks(self) -> frozenset[int]:
        """Indices of the blocks that attend to the whole grid: the last block of each group."""
        group = 6 if self.depth == 12 else self.depth // 4
        return frozenset(range(group - 1, self.depth, group))

    def grid(self, input_size: int) -> int:
        """Number of patches along a side of the input.

        Args:
            input_size: side of the input, in pixels.

        Raises:
            ValueError: patches or windows do not tile the input.
        """
        grid, rest = divmod(input_size, self.patch)
        if grid < 2 or grid % 2 or rest or grid % self.windows(grid):
            raise ValueError(
                f"{self.name} cannot take {input_size}x{input_size}: the patches of {self.patch} px a side "
                "must be even in number and divide into equal windows"
            )
        return grid

    def windows(self, grid: int) -> int:
        """Number of attention windows along a side of the grid of patches."""
        return max(1, grid // (WINDOW // self.patch))


ARCHITECTURES = {
    arch.name: arch
    for arch in (
        Architecture("xtiny", 160, 8, 4, 16, (96, 192, 288, 384), 128),
        Architecture("base", 768, 12, 12, 16, (128, 256, 512, 1024), 256),
        Architecture("large", 1024, 24, 16, 16, (192, 384, 768, 1536), 256),
        Architecture("huge", 1280, 32, 16, 14, (240, 480, 960, 1920), 256),
    )
}
