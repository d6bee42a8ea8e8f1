"""Files in the format of the authors' program: pickled ``.pth``, read without running code from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from torch import Tensor

from agg_pipeline.models.adapter import Adapter, Shape
from agg_pipeline.models.inert_pickle import DamagedPickleError, Named
from agg_pipeline.models.stored_tensors import NUMBERS, StoredContent, StoredTensor, read_stored
from agg_pipeline.models.torch_writing import write_stored
from schemas.errors import UserError
from schemas.words import excerpt

FOREIGN = ("isegm.", "torch.nn.")
"""Classes that released files name in their config; nothing of them is imported."""


@dataclass(frozen=True, eq=False)
class ReleasedFile:
    """A released file, whose tensors are still in it.

    Attributes:
        settings: plain settings of the model in ``config`` (protocol, section 1), nested ones flattened.
    """

    settings: Mapping[str, Any]
    _path: str
    _stored: StoredContent
    _state: Mapping[str, StoredTensor]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the tensors in the state dict, by key name."""
        return {name: each.shape for name, each in self._state.items()}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read tensors of the state dict; UserError if the file is damaged."""
        try:
            return self._stored.read({name: self._state[name] for name in names})
        except DamagedPickleError as error:
            raise _damaged(self._path, error) from None


def open_released(stream: BufferedIOBase, size: int, path: str) -> ReleasedFile:
    """Read a released file but for its tensors; nothing in it runs, and nothing that it names is imported.

    Args:
        stream: of a ``.pth``, in the format of torch 1.6 and later (a zip archive) or in the one before.
        size: of the file, in bytes.
        path: of the file, for messages.

    Raises:
        UserError: the file is damaged, names code that is no part of a model, or has no state dict.
        OSError: the file cannot be read.
    """

    def check_name(name: str) -> None:
        if not name.startswith(FOREIGN) and not NUMBERS.fullmatch(name):
            raise UserError(f"{path} is refused: it names {excerpt(name)}, which is no part of a model")

    try:
        stored = read_stored(stream, size, check_name)
        content = stored.value if isinstance(stored.value, dict) else {}
        state = content.get("state_dict")
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise UserError(f"{path} is not a released checkpoint: it has no state_dict of tensors")
        for key, value in state.items():
            if not isinstance(value, StoredTensor):
                raise UserError(
                    f"{path} is not a released checkpoint: it has no state_dict of tensors, because {excerpt(key)} "
                    f"in it is {_kind(value)}"
                )
        return ReleasedFile(_settings(content.get("config")), path, stored, state)
    except DamagedPickleError as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: DamagedPickleError) -> UserError:
    return UserError(f"{path} is truncated, damaged or not a checkpoint: {error}")


def save_released_adapter(path: str | Path, adapter: Adapter) -> None:
    """Write an adapter as the authors' program does.

    Raises:
        UserError: the authors' program could not read such an adapter.
        StorageError: the file cannot be written.
    """
    if adapter.projections != "qv":
        raise UserError("released files adapt query and value; this adapter is for query and key (--lora-targets)")
    if adapter.table is None or not adapter.rank:
        raise UserError("released files hold a granularity table and LoRA; this adapter lacks one of them")
    write_stored(Path(path), {"state_dict": adapter.released_state(), "config": {}})


def _kind(value: object) -> str:
    """What a value is that is no plain tensor: of other numbers, made by a function, or of a plain type."""
    if not isinstance(value, Named):
        return f"of type {type(value).__name__}"
    names = [each.name for each in value.arguments or () if isinstance(each, Named)]
    numbers = next((name for name in names if name.endswith("Storage")), "")
    return f"of {excerpt(numbers)}" if numbers else f"made by {excerpt(value.name)}"


def _settings(config: Any) -> dict[str, Any]:
    """Plain values among ``config["params"]`` entries, each {"type", "value", "specified"}."""
    params = config.get("params") if isinstance(config, dict) else None
    entries = params if isinstance(params, dict) else {}
    values = {name: entry["value"] for name, entry in entries.items() if isinstance(entry, dict) and "value" in entry}
    nested = [value for value in values.values() if isinstance(value, dict)]
    plain = (bool, int, float, str)
    return {name: value for group in (values, *nested) for name, value in group.items() if isinstance(value, plain)}
