"""Click models and adapters from files and to files, checked tensor by tensor."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from agg_pipeline.models.adapter import (
    TABLE_KEY,
    Adapter,
    Projections,
    Shape,
    adapter_from_state,
    adapter_of_shapes,
    as_float32,
    check_shapes,
    is_adapter,
)
from agg_pipeline.models.architecture import ARCHITECTURES, Architecture
from agg_pipeline.models.file_metadata import Origin
from agg_pipeline.models.positions import resize_positions, wave_positions
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter, merge_lora
from agg_pipeline.models.tensor_files import TensorFile, open_tensors, write_tensors
from agg_pipeline.storage.user_path import user_path
from schemas.errors import UserError
from schemas.training import LARGEST_SIZE
from schemas.words import excerpt

UNUSED = ("backbone.cls_token", "backbone.fc_norm.", "backbone.head.", "head.up_conv1.", "head.up_conv2.")
"""Tensors of released files that no computation uses; fc_norm and head are remains of the backbone's pre-training."""
SETTINGS = {"use_disks": True, "norm_radius": 5, "with_prev_mask": True, "upsample": "x1"}
"""Settings of released files; with other values, the network would be another one."""


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a click model was loaded from.

    Args:
        architecture: one of ``ARCHITECTURES``.
        input_size: side of the loaded model's input, in pixels.
        sha256: of the file, hex.
        granularity: whether the file holds a granularity table, as a merged one does; the model then has an adapter.
    """

    architecture: str
    input_size: int
    sha256: str
    granularity: bool = False


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """What an adapter was loaded from.

    Args:
        projections: those that LoRA updates.
        rank: of LoRA; 0 for no LoRA.
        granularity: whether it has a granularity table.
        sha256: of the file, hex.
        origin: what it was trained on.
    """

    projections: Projections
    rank: int
    granularity: bool
    sha256: str
    origin: Origin

    @property
    def input_size(self) -> int | None:
        """Side of the input that it was trained at, in pixels; None if the file does not say it."""
        augment = self.origin.config.get("augment") or {}
        size: int | None = augment.get("size")
        return size


def default_checkpoint() -> Path:
    """The built-in click model: xtiny, trained at 224."""
    return Path(__file__).parent / "weights" / "xtiny224.safetensors"


def default_adapter() -> Path:
    """The GraCo adapter of the built-in click model."""
    return default_checkpoint().with_name("xtiny224-graco.safetensors")


def load_click_model(path: str | Path, input_size: int | None = None) -> tuple[SimpleClick, CheckpointInfo]:
    """Load a click model from a released ``.pth`` or our safetensors.

    Args:
        path: of the file; ``~`` is the home folder.
        input_size: side of the network's input, in pixels; the position embedding is interpolated to it. Defaults to
            the side that the file was trained at.

    Returns:
        The model (float32, CPU, evaluation mode), and what it was loaded from.

    Raises:
        UserError: the file cannot be used.
    """
    path = user_path(path)
    with open_tensors(path) as file:
        if is_adapter(file.shapes):
            raise UserError(f"{path} holds a GraCo adapter, not a click model; give it as the adapter")
        with _naming(path):
            arch, file_size = _described_model(file)
        state = file.read(name for name in file.shapes if not name.startswith(UNUSED))
        sha256 = file.sha256()
    with _naming(path):
        model = _model_of(arch, file_size, state, input_size)
    return model, CheckpointInfo(arch.name, model.input_size, sha256, model.adapter is not None)


def new_click_model(arch: Architecture, input_size: int, seed: int) -> SimpleClick:
    """Make a model with random weights; its position embedding holds sines and cosines of row and column.

    Args:
        arch: its sizes.
        input_size: side of its input, in pixels.
        seed: of the weights.

    Returns:
        The model (float32, CPU, evaluation mode).

    Raises:
        ValueError: the architecture cannot take the input size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimpleClick(arch, input_size)
    with torch.no_grad():
        model.backbone.pos_embed[0, 1:] = wave_positions(arch.dim, model.grid)
    return model.eval()


def save_click_model(path: str | Path, model: SimpleClick, half: bool = True, origin: Origin | None = None) -> None:
    """Write a click model as safetensors; the same model and origin give the same bytes.

    Args:
        path: of the file, which is replaced if it exists; ``~`` is the home folder.
        model: its adapter is merged: LoRA into the projections, the granularity table beside the model's own tensors.
        half: write float16 instead of float32.
        origin: what the adapter was trained on.

    Raises:
        StorageError: the file cannot be written.
    """
    if model.adapter is not None:
        model = copy.deepcopy(model)
        merge_lora(model)
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("adapter.")}
    if model.adapter is not None and model.adapter.table is not None:
        state[TABLE_KEY] = model.adapter.table
    metadata: dict[str, Any] = {"kind": "click model", "architecture": model.arch.name, "input_size": model.input_size}
    if origin is not None:
        metadata["origin"] = asdict(origin)
    write_tensors(user_path(path), state, metadata, torch.float16 if half else torch.float32)


def load_adapter(path: str | Path) -> tuple[Adapter, AdapterInfo]:
    """Load an adapter from a released ``.pth`` (for query and value) or our safetensors.

    Args:
        path: of the file; ``~`` is the home folder.

    Returns:
        The adapter (float32, CPU), and what it was loaded from.

    Raises:
        UserError: the file cannot be used.
    """
    path = user_path(path)
    with open_tensors(path) as file:
        if "backbone.patch_embed.proj.weight" in file.shapes:
            raise UserError(f"{path} holds a click model, not a GraCo adapter; give it as the checkpoint")
        with _naming(path):
            # Released files have no choice of projections, and do not name them.
            projections = _projections(file.metadata.projections if file.metadata else "qv")
            adapter_of_shapes(file.shapes, projections)
        state = file.read(file.shapes)
        sha256 = file.sha256()
    with _naming(path):
        adapter = adapter_from_state(state, projections)
    origin = file.metadata.origin if file.metadata else Origin()
    return adapter, AdapterInfo(adapter.projections, adapter.rank, adapter.table is not None, sha256, origin)


def save_adapter(path: str | Path, adapter: Adapter, origin: Origin | None = None) -> None:
    """Write an adapter as float32 safetensors under released key names; the same content gives the same bytes.

    Args:
        path: of the file, which is replaced if it exists; ``~`` is the home folder.
        adapter: what is written.
        origin: what it was trained on.

    Raises:
        StorageError: the file cannot be written.
    """
    metadata: dict[str, Any] = {"kind": "adapter", "projections": adapter.projections}
    if origin is not None:
        metadata["origin"] = asdict(origin)
    write_tensors(user_path(path), adapter.released_state(), metadata, torch.float32)


def _projections(value: object) -> Projections:
    if value not in get_args(Projections):
        raise UserError(f"unknown projections {excerpt(repr(value))}; possible: {', '.join(get_args(Projections))}")
    return cast(Projections, value)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put a file's name before what is wrong with its content."""
    try:
        yield
    except (UserError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def _described_model(file: TensorFile) -> tuple[Architecture, int]:
    """Architecture and input size of the model in a file; UserError if its shapes or settings are none of ours."""
    shapes = {name: shape for name, shape in file.shapes.items() if not name.startswith(UNUSED)}
    table = shapes.pop(TABLE_KEY, None)
    if table is not None:
        adapter_of_shapes({TABLE_KEY: table}, "qk")
    arch = _nearest_architecture(shapes)
    file_size = _input_size(shapes, arch)
    if file_size > LARGEST_SIZE:
        raise UserError(f"its position embedding is for an input of {file_size} px; the largest is {LARGEST_SIZE} px")
    with torch.device("meta"):
        expected = {key: value.shape for key, value in SimpleClick(arch, file_size).state_dict().items()}
    check_shapes(shapes, expected, f"SimpleClick {arch.name}")
    for name, value in (("num_heads", arch.heads), *SETTINGS.items()):
        if file.settings.get(name, value) != value:
            found = excerpt(repr(file.settings[name]))
            raise UserError(f"made with {name} = {found}; only {value!r} is supported for {arch.name}")
    return arch, file_size


def _model_of(arch: Architecture, file_size: int, state: dict[str, Tensor], input_size: int | None) -> SimpleClick:
    table = state.pop(TABLE_KEY, None)
    state = as_float32(state)
    model = SimpleClick(arch, input_size or file_size)
    state["backbone.pos_embed"] = resize_positions(state["backbone.pos_embed"], model.grid)
    model.load_state_dict(state)
    if table is not None:
        attach_adapter(model, adapter_from_state({TABLE_KEY: table}, "qk"))
    return model.eval()


def _nearest_architecture(shapes: Mapping[str, Shape]) -> Architecture:
    """The architecture that shares most of width, depth and patch size with the tensors."""
    weight = shapes.get("backbone.patch_embed.proj.weight", ())
    dim, patch = (weight[0], weight[-1]) if len(weight) == 4 else (0, 0)
    depth = sum(key.startswith("backbone.blocks.") and key.endswith(".attn.qkv.weight") for key in shapes)
    return max(
        ARCHITECTURES.values(), key=lambda arch: (arch.dim == dim) + (arch.depth == depth) + (arch.patch == patch)
    )


def _input_size(shapes: Mapping[str, Shape], arch: Architecture) -> int:
    """Side in pixels that the position grid belongs to; the architecture's if the grid is missing or not square."""
    positions = shapes.get("backbone.pos_embed", ())
    tokens = positions[1] - 1 if len(positions) == 3 else 0
    side = math.isqrt(max(0, tokens))
    return side * arch.patch if side and side * side == tokens else arch.input_size
