"""SAM's weights: a folder in the layout of the Hugging Face hub, opened by the library ``transformers``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from agg_pipeline.storage.local_file import open_file, read_file
from schemas.checked_json import decode
from schemas.errors import UserError, out_of_memory
from schemas.limits import CONFIG_BYTES, MODEL_BYTES
from schemas.words import excerpt, possible, printable

CONFIG, WEIGHTS, PREPROCESSING = "config.json", "model.safetensors", "preprocessor_config.json"
"""Files of a folder; the last one may be missing."""
PICKLES = ("*.bin", "*.pth", "*.pt", "*.ckpt")
TINY = "tiny-random"
"""In the place of a folder: a small SAM with random weights, for trials and tests."""
SEED = 0
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB values in [0, 1] with which SAM and SAM 2 are published."""
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""The same of SAM 3."""
INSTALL = "pip install 'agg-pipeline[sam]'"
DOWNLOAD = f"hf download facebook/sam-vit-base {CONFIG} {PREPROCESSING} {WEIGHTS} --local-dir FOLDER"
WIDTHS = {768: "vit-b", 1024: "vit-l", 1280: "vit-h"}
"""The published sizes of SAM's encoder, by its width."""

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Kind:
    """A kind of models that ``transformers`` has.

    Attributes:
        model: its class there.
        padded: whether images keep their shape, and are padded to a square; else they are stretched to one.
        normal: mean and standard deviation of its RGB values where its folder does not say.
    """

    model: str
    padded: bool = False
    normal: tuple[Colour, Colour] = IMAGENET


KINDS = {
    "sam": Kind("SamModel", padded=True),
    "sam_hq": Kind("SamHQModel", padded=True),
    "sam2": Kind("Sam2Model"),
    # SAM 2 is published with its part for videos, which is left out.
    "sam2_video": Kind("Sam2Model"),
    "sam3_tracker": Kind("Sam3TrackerModel", normal=HALF),
}
"""Kinds by the ``model_type`` of their ``config.json``."""


@dataclass(frozen=True)
class _Preprocessing:
    """The part of ``preprocessor_config.json`` that is used."""

    image_mean: Colour | None = None
    image_std: Colour | None = None


@dataclass(frozen=True)
class Opened:
    """A model with what its folder says.

    Attributes:
        network: the model of ``transformers``.
        kind: which one it is.
        name: for tables and plans.
        sha256: of its weights, hex.
        config: hash of what else its folder says, hex.
        normal: mean and standard deviation of RGB values in [0, 1].
    """

    network: Any
    kind: Kind
    name: str
    sha256: str
    config: str
    normal: tuple[Colour, Colour]

    @property
    def side(self) -> int:
        """Side of the square that the model sees, in pixels."""
        return int(self.network.config.prompt_encoder_config.image_size)


def library() -> ModuleType:
    """The library ``transformers``, which shows no bars and warnings from now on; UserError if it is missing."""
    try:
        import transformers
    except ImportError as error:
        raise UserError(f"SAM needs the library transformers ({excerpt(str(error))}); {INSTALL}") from error
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    found: ModuleType = transformers
    return found


def open_sam(where: str) -> Opened:
    """Open a model on the CPU. Nothing is downloaded, and no code or pickle of the folder is run.

    Args:
        where: its folder, or ``tiny-random``.

    Raises:
        UserError: the library is missing, or the folder does not hold such a model.
    """
    if where == TINY:
        return _tiny(library())
    folder = Path(where)
    _check_files(folder)
    content = read_file(folder / CONFIG, CONFIG_BYTES)
    config = decode(content, dict[str, Any], str(folder / CONFIG))
    type_ = config.get("model_type")
    if type_ not in KINDS:
        raise UserError(
            f"{printable(str(folder / CONFIG))}: model_type {excerpt(str(type_))} is no SAM; {possible(type_, KINDS)}"
        )
    kind = KINDS[type_]
    said = _preprocessing(folder)
    with open_file(folder / WEIGHTS, MODEL_BYTES) as (stream, _):
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Opened(
        network=_loaded(folder, kind),
        kind=kind,
        name=_name(type_, config),
        sha256=sha256,
        config=hashlib.sha256(content + said).hexdigest(),
        normal=_normal(said, str(folder / PREPROCESSING)) or kind.normal,
    )


def _check_files(folder: Path) -> None:
    where = printable(str(folder))
    if not folder.is_dir():
        raise UserError(f"there is no folder {where} with SAM's weights; nothing is downloaded by itself: {DOWNLOAD}")
    if not (folder / WEIGHTS).exists() and any(next(folder.glob(each), None) for each in PICKLES):
        raise UserError(f"{where} holds pickles, which can run code, and no {WEIGHTS}: {DOWNLOAD}")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise UserError(f"{where} holds no {name}: {DOWNLOAD}")


def _preprocessing(folder: Path) -> bytes:
    """What the folder says of preprocessing; empty if it says nothing."""
    try:
        return read_file(folder / PREPROCESSING, CONFIG_BYTES)
    except FileNotFoundError:
        return b""


def _normal(said: bytes, where: str) -> tuple[Colour, Colour] | None:
    """Mean and standard deviation of RGB values, or None if nothing is said of them."""
    found = decode(said, _Preprocessing, where) if said else _Preprocessing()
    mean, deviation = found.image_mean, found.image_std
    if mean is None or deviation is None:
        return None
    if min(deviation) <= 0:
        raise UserError(f"{printable(where)}: image_std must be above 0")
    return mean, deviation


def _loaded(folder: Path, kind: Kind) -> Any:
    transformers = library()
    where = printable(str(folder))
    if not hasattr(transformers, kind.model):
        version = transformers.__version__
        raise UserError(f"{where} needs {kind.model}, which transformers {version} does not have; {INSTALL} --upgrade")
    try:
        # Never from the network, never by code or pickles of the folder.
        network, report = getattr(transformers, kind.model).from_pretrained(
            str(folder.absolute()),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except Exception as error:  # whatever a damaged file leads the library to
        if out_of_memory(error):
            raise
        raise UserError(f"{where} cannot be opened by {kind.model}: {excerpt(str(error))}") from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"{where}/{WEIGHTS} lacks {excerpt(missing[0])} and {len(missing) - 1} other weights")
    return network.eval().requires_grad_(False)


def _name(type_: str, config: Mapping[str, Any]) -> str:
    """Name of a model for tables: the kind, and the size of the encoder where it has a name."""
    vision = config.get("vision_config")
    width = vision.get("hidden_size", 768) if isinstance(vision, dict) else 768
    size = WIDTHS.get(width) if KINDS[type_].padded and isinstance(width, int) else None
    kind = type_.removesuffix("_video").replace("_", "-")
    return f"{kind}-{size}" if size else kind


def _tiny(transformers: ModuleType) -> Opened:
    """A SAM that sees 256 pixels and has random weights, the same ones every time."""
    width, side = 32, 256
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": width,
            "output_channels": width,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": side,
            "window_size": 4,
            "global_attn_indexes": [1],
            "num_pos_feats": width // 2,
            "mlp_dim": 2 * width,
        },
        prompt_encoder_config={"hidden_size": width, "image_size": side, "image_embedding_size": side // 16},
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": 2 * width,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": width,
        },
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = transformers.SamModel(config).eval().requires_grad_(False)
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return Opened(network, KINDS["sam"], f"sam-{TINY}", digest.hexdigest(), TINY, IMAGENET)
