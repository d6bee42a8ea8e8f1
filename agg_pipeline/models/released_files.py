"""Files in the format of the authors' program: pickled ``.pth``, read without running code from them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from agg_pipeline.models.adapter import Adapter
from schemas.errors import UserError

FOREIGN = ("isegm.", "torch.nn.")
"""Classes that released files name in their config; they are replaced by stand-ins that do nothing."""


def read_released(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a released file; nothing in it runs, and nothing that it names is imported.

    Args:
        path: of a ``.pth`` in the format of torch 1.6 and later (a zip archive).

    Returns:
        The state dict, and the plain settings of the model in ``config`` (protocol, section 1), nested ones flattened.

    Raises:
        UserError: the file is damaged, names code that is no part of a model, or has no state dict.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            foreign = get_unsafe_globals_in_checkpoint(path)
            refused = sorted(name for name in foreign if not name.startswith(FOREIGN))
            if refused:
                raise UserError(f"{path} is refused: it names {refused[0]}, which is no part of a model")
            with safe_globals([_stand_in(name) for name in foreign]):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except UserError:
            raise
        except Exception:  # a damaged archive or pickle can fail in any way
            raise UserError(f"{path} is truncated, damaged or not a checkpoint") from None
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path} is not a released checkpoint: it has no state_dict of tensors")
    return state, _settings(content.get("config"))


def save_released_adapter(path: str | Path, adapter: Adapter) -> None:
    """Write an adapter as the authors' program does.

    Raises:
        UserError: the authors' program could not read such an adapter.
    """
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


def _stand_in(name: str) -> type:
    """An inert class under a foreign class's name: it takes any arguments and state, and does nothing."""

    def ignore(self: object, *_: object) -> None:
        pass

    module, _, own = name.rpartition(".")
    return type(own, (), {"__module__": module, "__init__": ignore, "__setstate__": ignore})


def _settings(config: Any) -> dict[str, Any]:
    """Plain values among ``config["params"]`` entries, each {"type", "value", "specified"}."""
    params = config.get("params", {}) if isinstance(config, dict) else {}
    values = {name: entry["value"] for name, entry in params.items() if isinstance(entry, dict) and "value" in entry}
    nested = [value for value in values.values() if isinstance(value, dict)]
    plain = (bool, int, float, str)
    return {name: value for group in (values, *nested) for name, value in group.items() if isinstance(value, plain)}
