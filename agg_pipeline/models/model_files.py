"""The files of a model, and loading it from them: a click model and, beside it, an adapter."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from agg_pipeline.models.checkpoints import AdapterInfo, load_adapter, load_click_model
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter
from schemas.errors import UserError


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model lies, and which files these must be (sha256, hex).

    input_size: pixels a side of what it is loaded at. adapter: "" for none.
    """

    checkpoint: str
    sha256: str
    input_size: int
    adapter: str = ""
    adapter_sha256: str = ""


def describe_model(checkpoint: str, adapter: str, input_size: int | None) -> tuple[ModelFiles, dict[str, Any]]:
    """The files of a model, and what a plan says of it; UserError if they cannot be used together.

    input_size: pixels a side, None for that which the adapter was trained at, or that of the checkpoint.
    """
    if not adapter:
        _, info = load_click_model(checkpoint, input_size)
        return ModelFiles(str(Path(checkpoint).resolve()), info.sha256, info.input_size), asdict(info)
    loaded, adapted = load_adapter(adapter)
    network, info = load_click_model(checkpoint, input_size or adapted.input_size)
    described: dict[str, Any] = asdict(info)
    files = ModelFiles(str(Path(checkpoint).resolve()), info.sha256, info.input_size)
    check_base(adapter, adapted, checkpoint, info.sha256)
    attach_adapter(network, loaded)
    described["adapter"] = asdict(adapted) | {"origin": {"proposals": list(adapted.origin.proposals)}}
    described["granularity"] = adapted.granularity
    return replace(files, adapter=str(Path(adapter).resolve()), adapter_sha256=adapted.sha256), described


def check_base(adapter: str, info: AdapterInfo, checkpoint: str, sha256: str) -> None:
    """UserError with both hashes if an adapter says that it was trained on another file than this checkpoint."""
    base = info.origin.base_sha256
    if base and base != sha256:
        raise UserError(
            f"{adapter} was trained on another model than {checkpoint}: on the file with sha256 {base}, "
            f"and this one has {sha256}"
        )


def check_gpu(device: str, devices: int = 1) -> None:
    """UserError if a device, or so many of its kind, are not there; device: cpu, cuda or cuda:N."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"unknown device {device!r}; possible: cpu, cuda, cuda:N")
    if device == "cpu":
        return
    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) + devices > count:
        gpus = f"only {count} GPU(s)" if count else "no GPU"
        raise UserError(f"device {device!r} was asked for, but torch finds {gpus} here; use --device cpu")


def load_model_files(files: ModelFiles) -> SimpleClick:
    """The network with its adapter; UserError if a file is not the one that was described."""
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
