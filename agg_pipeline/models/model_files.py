"""The files of a model (a click model and, beside it, an adapter), described once and loaded anywhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agg_pipeline.models.checkpoints import AdapterInfo, load_adapter, load_click_model
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter
from agg_pipeline.storage.user_path import real_path, user_path
from schemas.errors import UserError


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model lies, and which files these must be.

    Args:
        checkpoint: absolute path of the click model.
        sha256: of the checkpoint, hex.
        input_size: side of the network's input, in pixels.
        adapter: absolute path of the adapter, "" for none.
        adapter_sha256: of the adapter, hex, "" for none.
    """

    checkpoint: str
    sha256: str
    input_size: int
    adapter: str = ""
    adapter_sha256: str = ""


def describe_model(
    checkpoint: str | Path, adapter: str | Path, input_size: int | None
) -> tuple[ModelFiles, dict[str, Any]]:
    """Find out what the files of a model are.

    Args:
        checkpoint: path of the click model; ``~`` is the home folder.
        adapter: path of the adapter, "" for none.
        input_size: side of the network's input, in pixels. Defaults to the side that the adapter was trained at, or
            that of the checkpoint.

    Returns:
        The files, and what a plan says of the model.

    Raises:
        UserError: a file cannot be used, or they do not fit together.
    """
    _, files, described = open_model(checkpoint, adapter, input_size)
    return files, described


def open_model(
    checkpoint: str | Path, adapter: str | Path, input_size: int | None
) -> tuple[SimpleClick, ModelFiles, dict[str, Any]]:
    """Load a model and describe its files.

    Args:
        checkpoint: path of the click model; ``~`` is the home folder.
        adapter: path of the adapter, "" for none.
        input_size: side of the network's input, in pixels. Defaults to the side that the adapter was trained at, or
            that of the checkpoint.

    Returns:
        The network on the CPU, the files, and what a plan says of the model.

    Raises:
        UserError: a file cannot be used, or they do not fit together.
    """
    path, sha256, adapted = "", "", None
    if adapter:
        loaded, adapted = load_adapter(adapter)
        path, sha256 = str(real_path(user_path(adapter))), adapted.sha256
        input_size = input_size or adapted.input_size
    network, info = load_click_model(checkpoint, input_size)
    files = ModelFiles(str(real_path(user_path(checkpoint))), info.sha256, info.input_size, path, sha256)
    described: dict[str, Any] = asdict(info)
    if adapted is not None:
        check_base(str(adapter), adapted, str(checkpoint), info.sha256)
        attach_adapter(network, loaded)
        described["adapter"] = asdict(adapted) | {"origin": {"proposals": list(adapted.origin.proposals)}}
        described["granularity"] = adapted.granularity
    return network, files, described


def check_base(adapter: str, info: AdapterInfo, checkpoint: str, sha256: str) -> None:
    """Check that an adapter was trained on a checkpoint, as far as the adapter says.

    Args:
        adapter, checkpoint: paths, for the message.
        info: what the adapter's file says.
        sha256: of the checkpoint, hex.

    Raises:
        UserError: the adapter names another file; the message has both hashes.
    """
    base = info.origin.base_sha256
    if base and base != sha256:
        raise UserError(
            f"{adapter} was trained on another model than {checkpoint}: on the file with sha256 {base}, "
            f"and this one has {sha256}"
        )


def load_model_files(files: ModelFiles) -> SimpleClick:
    """Load the network with its adapter.

    Raises:
        UserError: a file cannot be used, or is not the one that was described.
    """
    network, info = load_click_model(files.checkpoint, files.input_size)
    _check(files.checkpoint, files.sha256, info.sha256)
    if files.adapter:
        adapter, adapted = load_adapter(files.adapter)
        _check(files.adapter, files.adapter_sha256, adapted.sha256)
        attach_adapter(network, adapter)
    return network


def _check(path: str, expected: str, found: str) -> None:
    if found != expected:
        raise UserError(f"{path} is another file here than where the run was started (sha256 {found})")
