"""``agg adapter``: adapters in other programs' formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from agg_pipeline.models.checkpoints import (
    default_checkpoint,
    load_adapter,
    load_click_model,
    save_adapter,
    save_click_model,
)
from agg_pipeline.models.model_files import check_base
from agg_pipeline.models.released_files import save_released_adapter
from agg_pipeline.models.simpleclick import attach_adapter
from schemas.errors import UserError

FILE = click.Path(dir_okay=False, path_type=Path)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace TARGET if it is there.")


@click.group("adapter")
def group() -> None:
    """Adapters in other programs' formats."""


@group.command("export")
@click.argument("adapter", type=FILE)
@click.argument("target", type=FILE)
@click.option("--format", "form", type=click.Choice(["released", "merged"]), required=True)
@click.option("--checkpoint", type=FILE, help="Its click model, for merged. Default: the one that is built in.")
@OVERWRITE
def export_command(adapter: Path, target: Path, form: str, checkpoint: Path | None, overwrite: bool) -> None:
    """Write ADAPTER to TARGET as a released ``.pth``, or merged with its click model as one checkpoint."""
    loaded, info = load_adapter(adapter)
    _check_target(target, overwrite, adapter, checkpoint)
    if form == "released":
        _written(target, lambda: save_released_adapter(target, loaded))
        if info.input_size:
            click.echo(f"the format does not hold its input size, {info.input_size}: name it where the file is used")
        return
    if target.suffix == ".pth":
        raise UserError(f"a merged checkpoint is safetensors; {target} would be taken for a released file")
    base = checkpoint or default_checkpoint()
    network, described = load_click_model(base, info.input_size)
    check_base(str(adapter), info, str(base), described.sha256)
    attach_adapter(network, loaded)
    _written(target, lambda: save_click_model(target, network, half=False, origin=info.origin))


@group.command("import")
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
@OVERWRITE
def import_command(source: Path, target: Path, overwrite: bool) -> None:
    """Write the released adapter SOURCE to TARGET as safetensors; its branch for phrases is kept, unused."""
    loaded, info = load_adapter(source)
    _check_target(target, overwrite, source)
    _written(target, lambda: save_adapter(target, loaded, info.origin if info.origin.base_sha256 else None))


def _check_target(target: Path, overwrite: bool, *sources: Path | None) -> None:
    if not target.exists():
        return
    if any(source is not None and source.exists() and target.samefile(source) for source in sources):
        raise UserError(f"{target} is the file that is read; name another one")
    if not overwrite:
        raise UserError(f"{target} exists; --overwrite replaces it")


def _written(target: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write {target}: {error}") from error
    click.echo(f"{target}: {target.stat().st_size} bytes")
