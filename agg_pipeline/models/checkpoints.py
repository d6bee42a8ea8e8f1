"""Files of models and adapters: released ``.pth`` (read without running code from them) and safetensors of our own."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from agg_pipeline.models.adapter import (
    TABLE_KEY,
    Adapter,
    Projections,
    adapter_from_state,
    check_tensors,
    is_adapter_state,
)
from agg_pipeline.models.simpleclick import (
    ARCHITECTURES,
    Architecture,
    SimpleClick,
    attach_adapter,
    resize_positions,
    wave_positions,
)
from schemas.errors import StorageError, UserError

FORMAT = "agg-model-1"
METADATA = "agg"
# Classes that released files name in their config; they are replaced by stand-ins that do nothing.
FOREIGN = ("isegm.", "torch.nn.")
# Present in released files, used by no computation. fc_norm and head are remains of the backbone's pre-training.
UNUSED = ("backbone.cls_token", "backbone.fc_norm.", "backbone.head.", "head.up_conv1.", "head.up_conv2.")

# Settings of released files under which the network would be another one.
SETTINGS = {"use_disks": True, "norm_radius": 5, "with_prev_mask": True, "upsample": "x1"}


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a model was loaded from. input_size: that of the loaded model, pixels a side. sha256: of the file, hex.

    granularity: whether the file holds a granularity table, as a merged one does; the model then has it as its adapter.
    """

    architecture: str
    input_size: int
    sha256: str
    granularity: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """What an adapter was trained on: sha256 of the base checkpoint's file, hashes of the databases (configuration and
    shards), and the configuration of the training; empty where nothing is known, as of released files."""

    base_sha256: str = ""
    proposals: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """What an adapter was loaded from. sha256: of the file, hex. granularity: whether it has a granularity table."""

    projections: Projections
    rank: int
    granularity: bool
    sha256: str
    origin: Origin

    @property
    def input_size(self) -> int | None:
        """Pixels a side that it was trained at; None where nothing is known."""
        size = self.origin.config.get("augment", {}).get("size")
        return int(size) if size else None


def default_checkpoint() -> Path:
    """The xtiny model that ships with the package (trained at 224)."""
    return Path(__file__).parent / "weights" / "xtiny224.safetensors"


def default_adapter() -> Path:
    """The GraCo adapter of that model, which ships with it."""
    return default_checkpoint().with_name("xtiny224-graco.safetensors")


def load_click_model(path: str | Path, input_size: int | None = None) -> tuple[SimpleClick, CheckpointInfo]:
    """Click model (float32, CPU, eval mode) of a released ``.pth`` or of our safetensors; the content decides which.

    input_size: pixels a side, by default that of the file; for another one the positions are interpolated.
    Raises UserError, one line, if the file cannot be used.
    """
    path = Path(path)
    file = _read(path)
    if is_adapter_state(file.tensors):
        raise UserError(f"{path} holds a GraCo adapter, not a click model; give it as the adapter")
    try:
        model = _model_from_state(file, input_size)
    except (UserError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    return model, CheckpointInfo(model.arch.name, model.input_size, file.sha256, model.adapter is not None)


def new_click_model(arch: Architecture, input_size: int, seed: int) -> SimpleClick:
    """A model that has learnt nothing (float32, CPU, eval mode), its positions sines and cosines of row and column.

    Raises ValueError for a size that the architecture cannot take.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimpleClick(arch, input_size)
    with torch.no_grad():
        model.backbone.pos_embed[0, 1:] = wave_positions(arch.dim, model.grid)
    return model.eval()


def save_click_model(path: str | Path, model: SimpleClick, half: bool = True, origin: Origin | None = None) -> None:
    """Write the model as safetensors, fp16 if ``half``; same model and origin, same bytes.

    An adapter is merged into it: LoRA into the projections, the granularity table beside the model's own tensors.
    """
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("adapter.")}
    adapter = model.adapter
    if adapter is not None:
        for block in range(model.arch.depth):
            update = adapter.update(block)
            if update is not None:
                key = f"backbone.blocks.{block}.attn.qkv.weight"
                state[key] = state[key] + update
        if adapter.table is not None:
            state[TABLE_KEY] = adapter.table
    metadata: dict[str, Any] = {"kind": "click model", "architecture": model.arch.name, "input_size": model.input_size}
    if origin is not None:
        metadata["origin"] = asdict(origin)
    _write(Path(path), state, metadata, torch.float16 if half else torch.float32)


def load_adapter(path: str | Path) -> tuple[Adapter, AdapterInfo]:
    """Adapter (float32, CPU) of a released ``.pth`` (query and value) or of our safetensors.

    Raises UserError, one line, if the file cannot be used.
    """
    path = Path(path)
    file = _read(path)
    if "backbone.patch_embed.proj.weight" in file.tensors:
        raise UserError(f"{path} holds a click model, not a GraCo adapter; give it as the checkpoint")
    try:
        # Released files know one choice only, and do not name it.
        projections = _projections(file.metadata["projections"] if file.metadata else "qv")
        adapter = adapter_from_state(file.tensors, projections)
        origin = _origin(file.metadata.get("origin", {}))
    except KeyError as error:
        raise UserError(f"{path} does not say its {error.args[0]}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return adapter, AdapterInfo(adapter.projections, adapter.rank, adapter.table is not None, file.sha256, origin)


def _projections(value: object) -> Projections:
    if value not in get_args(Projections):
        raise UserError(f"unknown projections {value!r}; possible: {', '.join(get_args(Projections))}")
    return cast(Projections, value)


def _origin(known: Any) -> Origin:
    """The origin that a file's metadata holds; UserError if it is none."""
    try:
        origin = Origin(known.get("base_sha256", ""), tuple(known.get("proposals", ())), known.get("config", {}))
        texts = [origin.base_sha256, *origin.proposals]
        size = origin.config.get("augment", {}).get("size", 0)
        if not all(isinstance(text, str) for text in texts) or not isinstance(size, int):
            raise TypeError
    except (AttributeError, TypeError):
        raise UserError("its origin is damaged") from None
    return origin


def save_adapter(path: str | Path, adapter: Adapter, origin: Origin | None = None) -> None:
    """Write the adapter as float32 safetensors under released key names; same adapter and origin, same bytes."""
    metadata: dict[str, Any] = {"kind": "adapter", "projections": adapter.projections}
    if origin is not None:
        metadata["origin"] = asdict(origin)
    _write(Path(path), adapter.released_state(), metadata, torch.float32)


def save_released_adapter(path: str | Path, adapter: Adapter) -> None:
    """Write the adapter as the authors' program does, a pickled ``.pth``; UserError if that program cannot read it."""
    if adapter.projections != "qv":
        raise UserError("released files adapt query and value; this adapter is for query and key (--lora-targets)")
    if adapter.table is None or not adapter.rank:
        raise UserError("released files hold a granularity table and LoRA; this adapter lacks one of them")
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        torch.save({"state_dict": adapter.released_state(), "config": {}}, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _File:
    """Content of a file. metadata: of our own files. settings: what a released file says about its model."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    settings: dict[str, Any]
    sha256: str


def _model_from_state(file: _File, input_size: int | None) -> SimpleClick:
    state = {key: value.float() for key, value in file.tensors.items() if not key.startswith(UNUSED)}
    table = state.pop(TABLE_KEY, None)
    arch = _nearest_architecture(state)
    file_size = _input_size(state, arch)
    with torch.device("meta"):
        expected = {key: value.shape for key, value in SimpleClick(arch, file_size).state_dict().items()}
    check_tensors(state, expected, f"SimpleClick {arch.name}")
    for name, value in (("num_heads", arch.heads), *SETTINGS.items()):
        if file.settings.get(name, value) != value:
            raise UserError(f"made with {name} = {file.settings[name]!r}; only {value!r} is supported for {arch.name}")
    model = SimpleClick(arch, input_size or file_size)
    state["backbone.pos_embed"] = resize_positions(state["backbone.pos_embed"], model.grid)
    model.load_state_dict(state)
    if table is not None:
        attach_adapter(model, adapter_from_state({TABLE_KEY: table}, "qk"))
    return model.eval()


def _nearest_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """The architecture that shares most of width, depth and patch size with the tensors."""
    weight = state.get("backbone.patch_embed.proj.weight")
    dim, patch = (weight.shape[0], weight.shape[-1]) if weight is not None and weight.ndim == 4 else (0, 0)
    depth = sum(key.startswith("backbone.blocks.") and key.endswith(".attn.qkv.weight") for key in state)
    return max(
        ARCHITECTURES.values(), key=lambda arch: (arch.dim == dim) + (arch.depth == depth) + (arch.patch == patch)
    )


def _input_size(state: Mapping[str, Tensor], arch: Architecture) -> int:
    """Side in pixels that the position grid belongs to; the architecture's if the grid is missing or not square."""
    positions = state.get("backbone.pos_embed")
    tokens = positions.shape[1] - 1 if positions is not None and positions.ndim == 3 else 0
    side = math.isqrt(max(0, tokens))
    return side * arch.patch if side and side * side == tokens else arch.input_size


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
            stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if magic == b"PK\x03\x04":
        tensors, settings = _read_pickled(path)
        return _File(tensors, {}, settings, sha256)
    try:
        with safe_open(path, "pt") as reader:
            names = reader.keys()
            tensors = {name: reader.get_tensor(name) for name in names}
            metadata = json.loads((reader.metadata() or {}).get(METADATA, "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError):
        raise UserError(f"{path} is neither a .pth checkpoint nor safetensors, or it is truncated") from None
    if not isinstance(metadata, dict) or metadata.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} is not of the format {FORMAT}, which this program reads")
    return _File(tensors, metadata, {}, sha256)


def _read_pickled(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and model settings of a released file; never runs code from it, nor imports what it names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            foreign = get_unsafe_globals_in_checkpoint(path)
            refused = sorted(name for name in foreign if not name.startswith(FOREIGN))
            if refused:
                raise UserError(f"{path} is refused: it names {refused[0]}, which is no part of a model")
            with safe_globals([(_stand_in(name), name) for name in foreign]):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except UserError:
            raise
        except Exception:  # a damaged archive or pickle can fail in any way
            raise UserError(f"{path} is truncated, damaged or not a checkpoint") from None
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path} is not a released checkpoint: it has no state_dict of tensors")
    return state, _settings(content.get("config"))


def _stand_in(name: str) -> type:
    """An inert class under a foreign class's name: takes any arguments and state, does nothing."""

    def ignore(self: object, *_: object) -> None:
        pass

    return type(name.rpartition(".")[2], (), {"__init__": ignore, "__setstate__": ignore})


def _settings(config: Any) -> dict[str, Any]:
    """Plain values among ``config["params"]`` entries, each {"type", "value", "specified"}, nested ones flattened."""
    params = config.get("params", {}) if isinstance(config, dict) else {}
    values = {name: entry["value"] for name, entry in params.items() if isinstance(entry, dict) and "value" in entry}
    nested = [value for value in values.values() if isinstance(value, dict)]
    plain = (bool, int, float, str)
    return {name: value for group in (values, *nested) for name, value in group.items() if isinstance(value, plain)}


def _write(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any], dtype: torch.dtype) -> None:
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state.items()}
    # One entry only: safetensors writes several in an order that changes from run to run.
    text = json.dumps({"format": FORMAT, **metadata}, sort_keys=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(safetensors.torch.save(tensors, {METADATA: text}))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
