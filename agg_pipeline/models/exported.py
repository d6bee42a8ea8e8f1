"""A click model as one function of tensors, for files that other programs run: torch.export and ONNX."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agg_pipeline.models.simpleclick import CLICK_RADIUS, SimpleClick
from schemas.errors import UserError
from schemas.numbers import BINS

INPUTS = ("image", "clicks", "previous_mask", "granularity")
"""Names of the inputs in a file; without an adapter there is no granularity."""
OUTPUT = "probability"
PADDING = -1.0
"""Label of a padding row, which holds no click."""
OPSET = 18
"""Version of ONNX's operators."""
INSTALL = "pip install 'agg-pipeline[onnx]'"


class ClickFunction(nn.Module):
    """Click model and adapter as a function of tensors; the clicks are drawn in it.

    Args:
        network: the click model, in evaluation mode.
    """

    def __init__(self, network: SimpleClick) -> None:
        super().__init__()
        self.network = network
        side = torch.arange(network.input_size, dtype=torch.float32)
        self.register_buffer("rows", side.view(1, 1, -1, 1), persistent=False)
        self.register_buffer("cols", side.view(1, 1, 1, -1), persistent=False)

    rows: Tensor
    cols: Tensor

    def forward(
        self, image: Tensor, clicks: Tensor, previous_mask: Tensor, granularity: Tensor | None = None
    ) -> Tensor:
        """Predict the foreground.

        Args:
            image: (B, 3, S, S) float32, RGB in [0, 1].
            clicks: (B, N, 3) float32: row and column in pixels of the input, and 1 for a positive click, 0 for a
                negative one, -1 for no click.
            previous_mask: (B, 1, S, S) float32, the probabilities of the last prediction; zeros before the first.
            granularity: (B,) float32 between 0 and 1, negative for none; None for a model without an adapter.

        Returns:
            (B, 1, S, S) float32 foreground probability.
        """
        network = self.network
        coords = torch.cat([previous_mask, self._disks(clicks)], dim=1)
        bins = None if granularity is None else self._bins(granularity)
        features = network.encode(network.embed(image, coords, bins))
        logits = network.head(network.neck(features), network.grid)
        return torch.sigmoid(F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True))

    def _disks(self, clicks: Tensor) -> Tensor:
        """Disks of positive and negative clicks, (B, 2, S, S)."""
        row, col, label = (clicks[:, :, n, None, None] for n in range(3))
        inside = (self.rows - row) ** 2 + (self.cols - col) ** 2 <= CLICK_RADIUS**2
        kinds = [(inside & (label == kind)).to(clicks.dtype).amax(dim=1) for kind in (1.0, 0.0)]
        return torch.stack(kinds, dim=1)

    @staticmethod
    def _bins(granularity: Tensor) -> Tensor:
        """Rows of the granularity table, as ``table_row`` chooses them; -1 for none."""
        rows = torch.round(granularity * BINS).clamp(1, BINS).to(torch.int64) - 1
        return torch.where(granularity < 0, torch.full_like(rows, -1), rows)


def example_inputs(network: SimpleClick, batch: int = 2, clicks: int = 3) -> dict[str, Tensor]:
    """Inputs of a click function, by which it is traced.

    Args:
        network: the click model.
        batch: number of images.
        clicks: rows of clicks per image.
    """
    size = network.input_size
    places = torch.full((batch, clicks, 3), PADDING)
    places[:, 0] = torch.tensor([size / 2, size / 2, 1.0])
    values = (torch.zeros(batch, 3, size, size), places, torch.zeros(batch, 1, size, size), torch.ones(batch))
    named = dict(zip(INPUTS, values, strict=True))
    return named if network.has_granularity else {name: named[name] for name in INPUTS[:-1]}


def write_torch_export(network: SimpleClick, path: Path) -> None:
    """Write a ``.pt2`` file, which ``torch.export.load`` reads.

    Args:
        network: the click model on the CPU, with LoRA merged.
        path: the file.
    """
    function, inputs = ClickFunction(network.eval()), example_inputs(network)
    with torch.no_grad(), _quiet():
        program = torch.export.export(function, (), inputs, dynamic_shapes=_shapes(inputs))
        torch.export.save(program, path)


def write_onnx(network: SimpleClick, path: Path) -> None:
    """Write an ONNX file with the weights in it.

    Args:
        network: the click model on the CPU, with LoRA merged.
        path: the file.

    Raises:
        UserError: packages are missing.
    """
    if find_spec("onnxscript") is None:
        raise UserError(f"ONNX files need the extra onnx: {INSTALL}")
    function, inputs = ClickFunction(network.eval()), example_inputs(network)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            function,
            kwargs=inputs,
            dynamic_shapes=_shapes(inputs),
            input_names=[*inputs],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)


def write_int8_onnx(network: SimpleClick, path: Path) -> None:
    """Write an ONNX file whose matrix products compute in int8: weights once, inputs as they come.

    Args:
        network: the click model on the CPU, with LoRA merged.
        path: the file.

    Raises:
        UserError: packages are missing.
    """
    if find_spec("onnxruntime") is None:
        raise UserError(f"int8 files need the extra onnx: {INSTALL}")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        write_onnx(network, whole)
        with _quiet():
            # Convolutions in int8 are slower than in float32 here.
            quantize_dynamic(whole, path, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])


def _shapes(names: Iterable[str]) -> dict[str, dict[int, torch.export.Dim]]:
    """The numbers of images and of clicks are free."""
    batch, clicks = (torch.export.Dim(name, min=1, max=1024) for name in ("batch", "clicks"))
    return {name: {0: batch, 1: clicks} if name == "clicks" else {0: batch} for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself: it is the same for every model."""
    root = logging.getLogger()
    handlers = [*root.handlers]
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "root")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        # onnxruntime's quantisation sets up logging for the whole program.
        root.handlers[:] = handlers
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
